"""How a value becomes bytes: a pickle (protocol 5) in a gzip container (RFC 1952).

cloudpickle is used only where pickle refuses. The container is compressed where that pays,
otherwise stored as it is; any ``gunzip`` opens either. Equal values have equal bytes: the container
has neither a time nor a name. Where the readers have another checksum, a pickle that does not
shrink has no container.

Loading a pickle runs code. Load only what lokki itself has written.
"""

from __future__ import annotations

import collections
import functools
import inspect
import io
import pickle
import re
import struct
import sys
import threading
import types
import typing
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, ClassVar, NoReturn, TypeAlias

from lokki.errors import PayloadError, PayloadTooLarge, text_of
from lokki.store import columnar

Chunks: TypeAlias = list[bytes]
"""Bytes that stand for their concatenation."""

SMALL = 512
"""Longest pickle, in bytes, that ``compress_small`` leaves unchanged."""

PROTOCOL = 5
_GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, 2.3.1
_PICKLE_MAGIC = b"\x80"  # the PROTO opcode opens every pickle since protocol 2
_GZIP_WINDOW = 31  # zlib's way to say: 32 KiB window, gzip container

# Measured on pickles of numbers, records and text: levels 4 to 6 are 0-10 % smaller than level 1
# and 1.6-5 times slower, which pays only with a disk or network below 5 MB/s.
_LEVEL = 1
_WORTHWHILE = 0.9  # a larger compressed share than this is not worth the time to inflate it
_SAMPLE = 65_535  # up to this many bytes, all of them are the sample;
_SLICE = 2 * 1024  # beyond, three slices of this length: more say the same, within 0.02

# The window of 8 KiB has room for the three, and less to prepare: half the time of zlib's defaults.
_SAMPLE_WINDOW, _SAMPLE_MEMORY = 13, 6

# Magic, deflate, no flags, mtime 0, no extra flags, unknown system (RFC 1952, 2.3.1).
_STORED_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_BLOCK = struct.Struct("<BHH")  # BFINAL and BTYPE=00, LEN, NLEN (RFC 1951, 3.2.3 and 3.2.4)
_MAX_BLOCK = 65_535
_TRAILER = struct.Struct("<LL")  # CRC32, ISIZE (RFC 1952, 2.3.1)

_UNPICKLABLE = re.compile(r"cannot pickle '([^']+)' (?:object|instances)")
_MISSING_NAMES = (
    re.compile(r"Can't get attribute '(?P<name>[^']+)' on <module '(?P<module>[^']+)'"),
    # since Python 3.14
    re.compile(r"Can't resolve path '(?P<name>[^']+)' on module '(?P<module>[^']+)'"),
    re.compile(r"module '(?P<module>[^']+)' has no attribute '(?P<name>[^']+)'"),
)

_FILES = ("TextIOWrapper", "BufferedReader", "BufferedWriter", "BufferedRandom", "FileIO")

# Bound once: looking up pickle.dumps takes a fifth of the time of pickling a small number.
dumps_plain = pickle.dumps
"""``dumps`` for numbers, text, bytes and None, which cannot fail; also takes PROTOCOL."""
_loads = pickle.loads


def dumps(value: Any) -> bytes:
    """Return the pickle of ``value``; cloudpickle's where pickle refuses (lambdas, local classes).

    Raises PayloadError if neither can, naming the type of the value and what it contains.
    """
    try:
        if not columnar.present():
            return dumps_plain(value, PROTOCOL)
        buffer = io.BytesIO()
        columnar.Pickler(buffer, PROTOCOL).dump(value)
        return buffer.getvalue()
    except (pickle.PicklingError, AttributeError, TypeError):
        return dumps_by_value(value)
    except PayloadError:
        raise
    except Exception as error:
        raise PayloadError(why_unwritable(value, error)) from error


def loads(raw: bytes) -> Any:
    """Return the value given to ``dumps``.

    Raises PayloadError, with the cause attached, when the pickle is damaged, a module or class
    that it needs is missing (it says which), or the code of a class raises anything. A pickle has
    no checksum; only a container has.
    """
    try:
        return _loads(raw)
    except BaseException as error:
        raise _unreadable(error) from error


def dumps_chunks(value: Any) -> Chunks:
    """Return the pickle of ``value`` as several chunks, for large values.

    Large ``bytes`` in it are separate chunks, and are not copied. Raises PayloadError like
    ``dumps``.
    """
    chunks: Chunks = []
    pickler = columnar.Pickler if columnar.present() else pickle.Pickler
    try:
        pickler(_ChunkWriter(chunks), PROTOCOL).dump(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        return [dumps_by_value(value)]
    except PayloadError:
        raise
    except Exception as error:
        raise PayloadError(why_unwritable(value, error)) from error
    return chunks


def loads_chunks(chunks: Chunks) -> Any:
    """Return the value given to ``dumps_chunks``. Raises PayloadError like ``loads``."""
    try:
        return pickle.load(io.BufferedReader(_ChunkReader(chunks)))  # noqa: S301 - our own pickle
    except BaseException as error:
        raise _unreadable(error) from error


def compress(raw: bytes) -> bytes:
    """Return ``raw`` in a gzip container, compressed if a sample shrinks by a tenth or more.

    The sample is everything up to 64 KiB; beyond, three slices of 2 KiB (start, middle, end).
    """
    return b"".join(compress_chunks([raw]))


def compress_chunks(chunks: Chunks) -> list[bytes | memoryview]:
    """Return a gzip container of the concatenated chunks, as consecutive buffers.

    Like `compress`, with slices of the largest chunk as the sample. Chunks that do not shrink are
    not copied.
    """
    return _deflated(chunks) or _store(chunks)


def compress_checked(chunks: Chunks) -> list[bytes | memoryview]:
    """Return a pickle's chunks in a gzip container if that pays, otherwise as they are.

    For a store whose readers have a checksum of the data (`Reference`); `unpack` reads both.
    """
    return _deflated(chunks) or list(chunks)


def _deflated(chunks: Chunks) -> list[bytes | memoryview] | None:
    """A compressed container of the concatenated chunks; None if it would not pay."""
    if sum(map(len, chunks)) <= _SAMPLE:
        raw = b"".join(chunks)
        packed = zlib.compress(raw, _LEVEL, _GZIP_WINDOW)
        return [packed] if len(packed) <= _WORTHWHILE * len(raw) else None
    if _sampled_ratio(max(chunks, key=len)) > _WORTHWHILE:
        return None
    deflater = zlib.compressobj(_LEVEL, wbits=_GZIP_WINDOW)
    return [*map(deflater.compress, chunks), deflater.flush()]


def decompress(data: bytes, most: int | None = None) -> bytes:
    """Return the content of a gzip container with one member, whoever wrote it.

    Raises PayloadError when it is damaged, truncated or followed by anything: its CRC32 and
    length (RFC 1952, 2.3.1) are always checked. Raises PayloadTooLarge for more than ``most``
    bytes, without unpacking more than that.
    """
    size = _TRAILER.unpack(data[-_TRAILER.size :])[1] if len(data) >= _TRAILER.size else 0
    if most is not None and size > most:
        raise PayloadTooLarge(size)
    raw = _read_stored(data)
    if raw is not None:
        return raw
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        raw = inflater.decompress(data, 0 if most is None else most + 1)
    except zlib.error as error:
        raise PayloadError(f"stored data is damaged: {error}") from error
    if most is not None and len(raw) > most:  # gzip records its length modulo 4 GiB
        raise PayloadTooLarge(len(raw))
    if not inflater.eof:
        raise PayloadError(f"stored data is truncated: it ends after {len(data)} bytes")
    if inflater.unused_data:
        raise PayloadError(f"stored data is damaged: {len(inflater.unused_data)} bytes too many")
    return raw


def pack(value: Any) -> bytes:
    """Return ``value`` as a payload store keeps it. Raises PayloadError like ``dumps``."""
    return compress(dumps(value))


def compress_small(raw: bytes) -> bytes:
    """Return a pickle as a database row keeps it: unchanged up to 512 bytes, otherwise compressed.

    ``unpack`` reads both. An unchanged pickle has no checksum.
    """
    return raw if len(raw) <= SMALL else compress(raw)


def contained(data: bytes) -> bytes:
    """What ``pack`` or ``compress_small`` returned, in a gzip container for a payload store."""
    return compress(data) if data[:1] == _PICKLE_MAGIC else data


def unpack(data: bytes) -> Any:
    """Return the value given to ``pack``, ``compress_small`` or, pickled, ``compress_checked``.

    Raises PayloadError when the data is neither a container nor a pickle, or like ``decompress``
    and ``loads``.
    """
    if data[:1] == _PICKLE_MAGIC:
        try:
            return _loads(data)
        except BaseException as error:
            raise _unreadable(error) from error
    return loads(pickle_in(data))


def pickle_in(data: bytes, most: int | None = None) -> bytes:
    """Return the pickle in what ``pack`` or ``compress_small`` returned, without loading it.

    Raises PayloadError when the data is neither a container nor a pickle, or like ``decompress``.
    """
    if data[:1] == _PICKLE_MAGIC:
        if most is not None and len(data) > most:
            raise PayloadTooLarge(len(data))
        return data
    if data[:2] == _GZIP_MAGIC:
        return decompress(data, most)
    raise PayloadError(f"stored data is not a payload: it begins with {bytes(data[:4])!r}")


OF_ITEM = (_loads.__module__, _loads.__name__)
"""Module and name of the function that the pickle of `dumps_list` calls for each item."""


def dumps_list(items: Iterable[bytes]) -> bytes:
    """Return the pickle of a list of what ``pack`` or ``compress_small`` returned, unread.

    Raises PayloadError as `pickle_in`.
    """
    return dumps_plain([_Item(pickle_in(each)) for each in items], PROTOCOL)


class _Item:
    """Stands for a value in a pickle, through the value's own pickle."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def __reduce__(self) -> tuple[Any, ...]:
        return _loads, (self._raw,)


def dumps_by_value(value: Any) -> bytes:
    """Return cloudpickle's pickle of ``value``, with what ``__main__`` defines by value.

    Functions keep the names of their files, so that a traceback shows their lines. Raises
    PayloadError like ``dumps``.
    """
    buffer = io.BytesIO()
    try:
        value_pickler()(buffer, PROTOCOL).dump(value)
    except PayloadError:
        raise
    except Exception as error:
        raise PayloadError(why_unwritable(value, error)) from error
    return buffer.getvalue()


@functools.cache
def value_pickler() -> Any:
    """The class of cloudpickle's picklers that `dumps_by_value` uses."""
    import cloudpickle

    table: Any = cloudpickle.Pickler.dispatch_table
    reduce_code = table[types.CodeType]
    own = {
        types.CodeType: lambda code: (_code_of_file, (code.co_filename, *reduce_code(code))),
        type(functools.lru_cache(len)): _reduce_cache,
        typing.NewType: _reduce_new_type,
        functools.cached_property: _reduce_property,
        io.TextIOWrapper: _refuse_file,
        memoryview: _reduce_view,
    }

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table: ClassVar[Any] = collections.ChainMap(own, table)

        def reducer_override(self, obj: Any) -> Any:
            found = columnar.reduced(obj) if columnar.present() else NotImplemented
            if found is not NotImplemented:
                return found
            return super().reducer_override(_annotated(obj) if inspect.isfunction(obj) else obj)

    return Pickler


def _annotated(function: types.FunctionType) -> types.FunctionType:
    """A function, or a copy without annotations if these cannot be evaluated.

    They may name things for type checkers alone; until Python 3.14, such a function could not
    exist.
    """
    with suppress(Exception):
        function.__annotations__  # noqa: B018
        return function
    args = function.__name__, function.__defaults__, function.__closure__
    like = types.FunctionType(function.__code__, function.__globals__, *args)
    for name in ("__kwdefaults__", "__module__", "__qualname__", "__doc__"):
        setattr(like, name, getattr(function, name))
    vars(like).update(vars(function))
    return like


def _code_of_file(file: str, make: Callable[..., types.CodeType], args: Any) -> types.CodeType:
    return make(*args).replace(co_filename=file)


# What cloudpickle sends by reference even if it is __main__'s, or refuses (a lock in Python 3.11).


def _reduce_cache(function: Any) -> str | tuple[Any, ...]:
    if _is_importable(function):
        return str(function.__qualname__)
    return _cached, (function.__wrapped__, function.cache_parameters())


def _cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _reduce_new_type(kind: Any) -> str | tuple[Any, ...]:
    if _is_importable(kind):
        return str(kind.__qualname__)
    return typing.NewType, (kind.__name__, kind.__supertype__), {"__module__": kind.__module__}


def _reduce_property(value: Any) -> tuple[Any, ...]:
    return functools.cached_property, (value.func,), {"attrname": value.attrname}


def _is_importable(value: Any) -> bool:
    name = getattr(value, "__module__", "__main__")
    here: Any = None if name == "__main__" else sys.modules.get(name)
    for part in getattr(value, "__qualname__", "").split("."):
        here = getattr(here, part, None)
    return here is value


# What cloudpickle would send as something else: as a StringIO, and as bytes.


def _refuse_file(file: io.TextIOWrapper) -> NoReturn:
    raise TypeError("cannot pickle '_io.TextIOWrapper' object")


def _reduce_view(view: memoryview) -> tuple[Any, ...]:
    """A view as the bytes that it shows, not all those behind it."""
    return _view_of, (view.tobytes(), view.format, view.shape)


def _view_of(data: bytes, format: Any, shape: Any) -> Any:
    return memoryview(data).cast(format, shape) if data else memoryview(data)


def why_unwritable(value: Any, error: Exception) -> str:
    """Why a value could not be pickled: its type, and that of the part at fault."""
    kind = type_name(type(value))
    found = _UNPICKLABLE.search(str(error))
    if found is None:
        return f"a value of type '{kind}' cannot be pickled: {type(error).__name__}: {error}"
    is_file = found[1].removeprefix("_io.") in _FILES
    advice = "; return the file's content, or its path" if is_file else ""
    if found[1] in (kind, type(value).__name__):
        return f"a value of type '{kind}' cannot be pickled{advice}"
    return f"a value of type '{kind}' cannot be pickled: it contains a '{found[1]}'{advice}"


def type_name(kind: type) -> str:
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _unreadable(error: BaseException) -> PayloadError:
    """The description of an error while loading; re-raises Ctrl-C."""
    if (
        isinstance(error, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
    ):
        raise error
    if isinstance(error, ModuleNotFoundError):
        why = f"a stored value needs the module '{error.name}', which is not installed here"
    elif missing := next(
        filter(None, (each.match(text_of(error)) for each in _MISSING_NAMES)), None
    ):
        why = "a stored value needs '{name}', which the module '{module}' does not have".format(
            **missing.groupdict()
        )
    else:
        why = f"a stored value cannot be read: {type(error).__name__}: {text_of(error)}"
    return PayloadError(why)


class _ChunkWriter:
    """A file that keeps each written chunk."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    def write(self, data: Any) -> None:
        # A bytearray may change before the chunks are used; bytes cannot.
        self._chunks.append(data if type(data) is bytes else bytes(data))


class _ChunkReader(io.RawIOBase):
    """A file that reads one chunk after the other."""

    def __init__(self, chunks: Chunks) -> None:
        self._views = collections.deque(memoryview(chunk) for chunk in chunks)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._views and not self._views[0]:
            self._views.popleft()
        if not self._views:
            return 0
        view = self._views[0]
        size = min(len(buffer), len(view))
        buffer[:size] = view[:size]
        self._views[0] = view[size:]
        return size


def _sampled_ratio(raw: bytes) -> float:
    view = memoryview(raw)
    size = min(_SLICE, len(raw))
    middle = (len(raw) - size) // 2
    sample = b"".join((view[:size], view[middle : middle + size], view[-size:]))
    deflater = zlib.compressobj(_LEVEL, wbits=_SAMPLE_WINDOW, memLevel=_SAMPLE_MEMORY)
    return (len(deflater.compress(sample)) + len(deflater.flush())) / len(sample)


def _store(chunks: Chunks) -> list[bytes | memoryview]:
    # zlib at level 0 is ten times slower at this, and four times slower at reading it back.
    buffers: list[bytes | memoryview] = [_STORED_HEADER]
    full_block = _BLOCK.pack(0, _MAX_BLOCK, 0)
    crc = total = 0
    for chunk in chunks:
        view, size = memoryview(chunk), len(chunk)
        crc, total = zlib.crc32(chunk, crc), total + size
        whole = size // _MAX_BLOCK * _MAX_BLOCK
        for start in range(0, whole, _MAX_BLOCK):
            buffers += (full_block, view[start : start + _MAX_BLOCK])
        if size > whole:
            rest = size - whole
            buffers += (_BLOCK.pack(0, rest, rest ^ 0xFFFF), view[whole:])
    buffers += (_BLOCK.pack(1, 0, 0xFFFF), _TRAILER.pack(crc, total & 0xFFFF_FFFF))
    return buffers


def _read_stored(data: bytes) -> bytes | None:
    """Read back what ``_store`` writes; None leaves everything else, errors too, to zlib."""
    if data[: len(_STORED_HEADER)] != _STORED_HEADER:
        return None
    view = memoryview(data)
    chunks: list[memoryview] = []
    at, end, final = len(_STORED_HEADER), len(data) - _TRAILER.size, 0
    while not final:
        if at + _BLOCK.size > end:
            return None
        final, size, complement = _BLOCK.unpack_from(data, at)
        at += _BLOCK.size
        if final > 1 or size ^ complement != 0xFFFF:
            return None
        chunks.append(view[at : at + size])
        at += size
    if at != end:
        return None
    raw = b"".join(chunks)
    if _TRAILER.unpack_from(data, end) != (zlib.crc32(raw), len(raw) & 0xFFFF_FFFF):
        raise PayloadError("stored data is damaged: its checksum or length differs")
    return raw
