"""Values as PostgreSQL stores them, so that each is read back as SQLite would return it.

Its texts have no NUL, which output and errors may contain: it is stored as the characters 1 and 2,
and the character 1 twice. Lone surrogates are written as escapes, as `storable` does for SQLite.
"""

from __future__ import annotations

import re
from typing import Any

from psycopg import Connection
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.postgres import types
from psycopg.pq import Format
from psycopg.types.numeric import FloatBinaryDumper, Int8BinaryDumper

_ESCAPED = re.compile("\1([\1\2])")
_MEANT = {"\1": "\1", "\2": "\0"}


class _TextDumper(Dumper):
    format = Format.BINARY
    oid = types["text"].oid

    def dump(self, obj: str) -> Buffer:
        if "\0" in obj or "\1" in obj:
            obj = obj.replace("\1", "\1\1").replace("\0", "\1\2")
        return obj.encode("utf-8", "backslashreplace")


class _TextLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        text = bytes(data).decode()
        if "\1" in text:
            text = _ESCAPED.sub(lambda found: _MEANT[found[1]], text)
        return text


def adapt(connection: Connection[Any]) -> None:
    """Have a connection send and receive values like this.

    Numbers always have the widest type: a statement is then prepared once.
    """
    connection.adapters.register_dumper(str, _TextDumper)
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    connection.adapters.register_dumper(float, FloatBinaryDumper)
    connection.adapters.register_loader("text", _TextLoader)
