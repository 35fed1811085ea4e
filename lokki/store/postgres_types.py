"""Values as PostgreSQL stores them, so that each is read back as SQLite would return it.

Its texts have no NUL, which output and errors may contain: it is stored as the characters 1 and 2,
and the character 1 twice. Lone surrogates are written as escapes, as `storable` does for SQLite.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from psycopg import Connection
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.postgres import types
from psycopg.pq import Format
from psycopg.types.numeric import FloatBinaryDumper, Int8BinaryDumper

_ESCAPED = re.compile("\1([\1\2])")
_MEANT = {"\1": "\1", "\2": "\0"}


def _encoded(text: str) -> bytes:
    if "\0" in text or "\1" in text:
        text = text.replace("\1", "\1\1").replace("\0", "\1\2")
    return text.encode("utf-8", "backslashreplace")


class _TextDumper(Dumper):
    format = Format.BINARY
    oid = types["text"].oid

    def dump(self, obj: str) -> Buffer:
        return _encoded(obj)


class _TextLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        text = bytes(data).decode()
        if "\1" in text:
            text = _ESCAPED.sub(lambda found: _MEANT[found[1]], text)
        return text


class _Array(tuple[Any, ...]):
    """The values of a column in several rows; None for NULL."""


_PACKED: dict[str, Callable[[Any], bytes]] = {
    "text": _encoded,
    "int8": struct.Struct(">q").pack,
    "float8": struct.Struct(">d").pack,
    "bytea": bytes,
}
"""How values of each type are sent; each refuses those of another one."""
_ARRAYS = {name: type(f"_{name}_array", (_Array,), {}) for name in _PACKED}
_HEAD = struct.Struct(
    ">iiIii"
).pack  # dimensions, whether there are NULLs, type, length, first index
_SIZE = struct.Struct(">i").pack
_NULL = _SIZE(-1)


def columns_of(rows: Sequence[Sequence[Any]], names: Iterable[str]) -> list[Any]:
    """The columns of rows as arrays, whose elements have types with these names."""
    values = zip(*rows, strict=True)
    return [_ARRAYS[name](column) for name, column in zip(names, values, strict=True)]


def _array_dumper(name: str) -> type[Dumper]:
    pack, element = _PACKED[name], types[name].oid

    class ArrayDumper(Dumper):
        format = Format.BINARY
        oid = types[name].array_oid

        def dump(self, obj: tuple[Any, ...]) -> Buffer:
            parts = [_HEAD(1, 1, element, len(obj), 1)]
            for value in obj:
                if value is None:
                    parts.append(_NULL)
                else:
                    packed = pack(value)
                    parts += (_SIZE(len(packed)), packed)
            return b"".join(parts)

    return ArrayDumper


_ARRAY_DUMPERS = {array: _array_dumper(name) for name, array in _ARRAYS.items()}


def adapt(connection: Connection[Any]) -> None:
    """Have a connection send and receive values like this.

    Numbers always have the widest type: a statement is then prepared once.
    """
    connection.adapters.register_dumper(str, _TextDumper)
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    connection.adapters.register_dumper(float, FloatBinaryDumper)
    for array, dumper in _ARRAY_DUMPERS.items():
        connection.adapters.register_dumper(array, dumper)
    connection.adapters.register_loader("text", _TextLoader)
