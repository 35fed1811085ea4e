"""How a value becomes bytes: a pickle (protocol 5) in a gzip container (RFC 1952).

cloudpickle serves only where pickle refuses. The container is compressed where that pays and
stored as it is where it does not; any ``gunzip`` opens either. The same value gives the same
bytes: the container carries neither a time nor a name.

Loading a pickle runs code. Load only what lokki itself has written.
"""

from __future__ import annotations

import collections
import functools
import io
import pickle
import re
import struct
import types
import zlib
from collections.abc import Callable
from typing import Any, ClassVar

from lokki.errors import PayloadError

SMALL = 512
"""Longest pickle, in bytes, that ``compress_small`` leaves as it is."""

_PROTOCOL = 5
_GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, 2.3.1
_PICKLE_MAGIC = b"\x80"  # the PROTO opcode opens every pickle since protocol 2
_GZIP_WINDOW = 31  # zlib's way to say: 32 KiB window, gzip container

# Measured on pickles of numbers, records and text: levels 4 to 6 are 0-10 % smaller than level 1
# and 1.6-5 times slower, which only a disk or network below 5 MB/s would win back.
_LEVEL = 1
_WORTHWHILE = 0.9  # a larger compressed share than this is not worth the time to inflate it again
_SAMPLE = 65_535  # bytes looked at to find that out

# Magic, deflate, no flags, mtime 0, no extra flags, unknown system (RFC 1952, 2.3.1).
_STORED_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_BLOCK = struct.Struct("<BHH")  # BFINAL and BTYPE=00, LEN, NLEN (RFC 1951, 3.2.3 and 3.2.4)
_MAX_BLOCK = 65_535
_TRAILER = struct.Struct("<LL")  # CRC32, ISIZE (RFC 1952, 2.3.1)

_UNPICKLABLE = re.compile(r"cannot pickle '([^']+)' object")
_MISSING_NAME = re.compile(r"Can't get attribute '([^']+)' on <module '([^']+)'")

# Bound once: looking up pickle.dumps costs a fifth of pickling a small number.
_dumps = pickle.dumps
_loads = pickle.loads


def dumps(value: Any) -> bytes:
    """Return the pickle of ``value``; cloudpickle's where pickle refuses (lambdas, local classes).

    Raises PayloadError when neither can, naming the type of the value and what it holds.
    """
    try:
        return _dumps(value, _PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):
        return dumps_by_value(value)
    except Exception as error:
        raise PayloadError(_why_unwritable(value, error)) from error


def loads(raw: bytes) -> Any:
    """Return the value that ``dumps`` was given.

    Raises PayloadError, with the cause attached, when the pickle is damaged or a module or class
    that it needs is missing (it says which). A pickle has no checksum: only a container has.
    """
    try:
        return _loads(raw)
    except Exception as error:
        raise PayloadError(_why_unreadable(error)) from error


def compress(raw: bytes) -> bytes:
    """Return ``raw`` in a gzip container, compressed if a sample shrinks by a tenth or more.

    The sample is all of it up to 64 KiB, and three slices (start, middle, end) beyond that.
    """
    if len(raw) <= _SAMPLE:
        packed = zlib.compress(raw, _LEVEL, _GZIP_WINDOW)
        return packed if len(packed) <= _WORTHWHILE * len(raw) else _store(raw)
    if _sampled_ratio(raw) > _WORTHWHILE:
        return _store(raw)
    return zlib.compress(raw, _LEVEL, _GZIP_WINDOW)


def decompress(data: bytes) -> bytes:
    """Return what a gzip container of one member holds, whoever wrote it.

    Raises PayloadError when it is damaged, truncated or followed by anything: its CRC32 and
    length (RFC 1952, 2.3.1) are always checked.
    """
    raw = _read_stored(data)
    if raw is not None:
        return raw
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        raw = inflater.decompress(data)
    except zlib.error as error:
        raise PayloadError(f"stored data is damaged: {error}") from error
    if not inflater.eof:
        raise PayloadError(f"stored data is truncated: it ends after {len(data)} bytes")
    if inflater.unused_data:
        raise PayloadError(f"stored data is damaged: {len(inflater.unused_data)} bytes too many")
    return raw


def pack(value: Any) -> bytes:
    """Return ``value`` as a payload store keeps it. Raises PayloadError as ``dumps`` does."""
    return compress(dumps(value))


def pack_small(value: Any) -> bytes:
    """Return ``value`` as a database row keeps it. Raises PayloadError as ``dumps`` does."""
    return compress_small(dumps(value))


def compress_small(raw: bytes) -> bytes:
    """Return a pickle as a database row keeps it: as it is up to 512 bytes, else compressed.

    ``unpack`` reads both. As it is, it has no checksum of its own.
    """
    return raw if len(raw) <= SMALL else compress(raw)


def unpack(data: bytes) -> Any:
    """Return the value that ``pack`` or ``pack_small`` was given.

    Raises PayloadError when the data is neither a container nor a pickle, or as ``decompress``
    and ``loads`` do.
    """
    if data[:1] == _PICKLE_MAGIC:
        return loads(data)
    if data[:2] == _GZIP_MAGIC:
        return loads(decompress(data))
    raise PayloadError(f"stored data is no payload: it begins with {bytes(data[:4])!r}")


def dumps_by_value(value: Any) -> bytes:
    """Return cloudpickle's pickle of ``value``, which holds what ``__main__`` defines by value.

    Its functions keep the names of their files, so that a traceback shows their lines. Raises
    PayloadError as ``dumps`` does.
    """
    buffer = io.BytesIO()
    try:
        _value_pickler()(buffer, _PROTOCOL).dump(value)
    except Exception as error:
        raise PayloadError(_why_unwritable(value, error)) from error
    return buffer.getvalue()


@functools.cache
def _value_pickler() -> Any:
    import cloudpickle

    table: Any = cloudpickle.Pickler.dispatch_table
    reduce_code = table[types.CodeType]

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table: ClassVar[Any] = collections.ChainMap(
            {types.CodeType: lambda code: (_code_of_file, (code.co_filename, *reduce_code(code)))},
            table,
        )

    return Pickler


def _code_of_file(file: str, make: Callable[..., types.CodeType], args: Any) -> types.CodeType:
    return make(*args).replace(co_filename=file)


def _why_unwritable(value: Any, error: Exception) -> str:
    kind = _type_name(type(value))
    found = _UNPICKLABLE.search(str(error))
    if found is None:
        return f"a value of type '{kind}' cannot be pickled: {type(error).__name__}: {error}"
    if found[1] in (kind, type(value).__name__):
        return f"a value of type '{kind}' cannot be pickled"
    return f"a value of type '{kind}' cannot be pickled: it holds a '{found[1]}'"


def _type_name(kind: type) -> str:
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _why_unreadable(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"a stored value needs the module '{error.name}', which is not installed here"
    missing = _MISSING_NAME.match(str(error))
    if missing is not None:
        return f"a stored value needs '{missing[1]}', which the module '{missing[2]}' does not have"
    return f"a stored value cannot be read: {type(error).__name__}: {error}"


def _sampled_ratio(raw: bytes) -> float:
    view = memoryview(raw)
    size = _SAMPLE // 3
    middle = (len(raw) - size) // 2
    sample = b"".join((view[:size], view[middle : middle + size], view[-size:]))
    return len(zlib.compress(sample, _LEVEL)) / len(sample)


def _store(raw: bytes) -> bytes:
    # zlib at level 0 does the same ten times slower, and reads it back four times slower.
    view = memoryview(raw)
    parts: list[bytes | memoryview] = [_STORED_HEADER]
    last = max(len(raw) - 1, 0) // _MAX_BLOCK * _MAX_BLOCK
    full_block = _BLOCK.pack(0, _MAX_BLOCK, 0)
    for start in range(0, last, _MAX_BLOCK):
        parts += (full_block, view[start : start + _MAX_BLOCK])
    size = len(raw) - last
    parts += (
        _BLOCK.pack(1, size, size ^ 0xFFFF),
        view[last:],
        _TRAILER.pack(zlib.crc32(raw), len(raw) & 0xFFFF_FFFF),
    )
    return b"".join(parts)


def _read_stored(data: bytes) -> bytes | None:
    """Read back what ``_store`` writes; None leaves everything else, errors too, to zlib."""
    if data[: len(_STORED_HEADER)] != _STORED_HEADER:
        return None
    view = memoryview(data)
    parts: list[memoryview] = []
    at, end, final = len(_STORED_HEADER), len(data) - _TRAILER.size, 0
    while not final:
        if at + _BLOCK.size > end:
            return None
        final, size, complement = _BLOCK.unpack_from(data, at)
        at += _BLOCK.size
        if final > 1 or size ^ complement != 0xFFFF:
            return None
        parts.append(view[at : at + size])
        at += size
    if at != end:
        return None
    raw = b"".join(parts)
    if _TRAILER.unpack_from(data, end) != (zlib.crc32(raw), len(raw) & 0xFFFF_FFFF):
        raise PayloadError("stored data is damaged: its checksum or length differs")
    return raw
