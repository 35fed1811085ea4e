import functools
import gzip
import pickle
import random
import shutil
import subprocess
import sys
import threading
import types
import typing
import zlib
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki.errors import PayloadError
from lokki.store import codec

NOISE = random.Random(7).randbytes(200_000)
TEXT = b"".join(b"line %d of a log\n" % n for n in range(20_000))

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@dataclass
class Point:
    x: int
    y: int


class Hostile:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


def raise_value_error(text):
    raise ValueError(text)


class Unloadable:
    def __reduce__(self):
        return raise_value_error, ("no thanks",)


@given(VALUES)
def test_values_come_back_with_their_types_from_the_same_bytes(value):
    assert codec.pack(value) == codec.pack(value)
    for data in (codec.pack(value), codec.compress_small(codec.dumps(value))):
        again = codec.unpack(data)
        assert again == value
        assert type(again) is type(value)
    assert codec.loads(codec.dumps(value)) == value


@pytest.mark.parametrize("value", [5, Point(1, 2), OrderedDict(a=(1,)), {1, 2}, 3 + 4j])
def test_pickle_is_used_where_it_serves(value):
    assert codec.dumps(value) == pickle.dumps(value, 5)
    assert codec.unpack(codec.pack(value)) == value


def test_cloudpickle_is_not_imported_before_it_is_needed():
    script = (
        "import sys; from lokki.store import codec\n"
        "codec.unpack(codec.pack([1, 'a']))\n"
        "assert 'cloudpickle' not in sys.modules\n"
        "codec.dumps(lambda: 1)\n"
        "assert 'cloudpickle' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_lambdas_and_local_classes_go_by_value():
    class Local:
        x = 3

    assert codec.unpack(codec.pack(lambda n: n + 1))(2) == 3
    assert codec.unpack(codec.pack(Local())).x == 3
    assert codec.unpack(codec.compress_small(codec.dumps({"f": lambda: 4})))["f"]() == 4


@functools.lru_cache
def kept():
    return 1


def test_cached_functions_and_new_types_go_by_value_if_no_module_has_them():
    @functools.lru_cache(maxsize=3, typed=True)
    def squared(n):
        return n * n

    Metres = typing.NewType("Metres", int)

    class Square:
        side = 3

        @functools.cached_property
        def area(self):
            return Metres(squared(self.side))

    make, same = codec.loads(codec.dumps((lambda: (Square(), squared, Metres), kept)))
    square, cached, kind = make()
    assert square.area == 9
    assert cached.cache_parameters() == {"maxsize": 3, "typed": True}
    assert cached.cache_info().currsize == 1
    assert (kind.__name__, kind.__supertype__, kind.__module__) == ("Metres", int, __name__)
    assert same is kept, "what a module has goes by its name"


@pytest.mark.parametrize(
    "view",
    [
        memoryview(NOISE)[5:50],
        memoryview(NOISE[:24]).cast("i", (2, 3)),
        memoryview(NOISE)[:100:3],
        memoryview(b""),
    ],
    ids=["slice", "shaped", "strided", "empty"],
)
def test_a_memoryview_comes_back_as_one_of_what_it_shows(view):
    raw = codec.dumps({"view": view})
    assert len(raw) < 1_000
    again = codec.loads(raw)["view"]
    assert type(again) is memoryview
    assert again == view
    assert (again.shape, again.format) == (view.shape, view.format)


@pytest.mark.parametrize("mode", ["r", "rb"])
def test_an_open_file_is_refused_with_what_to_return(tmp_path, mode):
    (tmp_path / "file").write_bytes(b"text")
    told = r"it contains a '(_io\.)?\w+'; return the file's content, or its path$"
    with (tmp_path / "file").open(mode) as file, pytest.raises(PayloadError, match=told):
        codec.dumps([file])


def test_unpicklable_values_are_named():
    lock = threading.Lock()
    with pytest.raises(PayloadError) as caught:
        codec.dumps({"a": [lock]})
    assert str(caught.value) == (
        "a value of type 'dict' cannot be pickled: it contains a '_thread.lock'"
    )
    with pytest.raises(PayloadError) as caught:
        codec.pack(lock)
    assert str(caught.value) == "a value of type '_thread.lock' cannot be pickled"
    with pytest.raises(PayloadError, match=r"type 'generator' cannot be pickled$"):
        codec.dumps(n for n in ())


@pytest.mark.parametrize("error", [ValueError("odd"), TypeError("odd"), KeyError("odd")])
def test_errors_of_the_users_reduce_are_payload_errors(error):
    with pytest.raises(PayloadError, match=r"Hostile' cannot be pickled: .*Error: .*odd") as caught:
        codec.dumps(Hostile(error))
    assert caught.value.__cause__ is error


def test_too_deep_a_value_is_a_payload_error():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(PayloadError, match="type 'list' cannot be pickled: RecursionError"):
        codec.dumps(value)


@pytest.fixture
def vanishing(monkeypatch):
    module = types.ModuleType("vanishing")
    exec("class Thing:\n  class Part: pass\ndef f(): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "vanishing", module)
    return module


def test_a_missing_module_is_named(vanishing, monkeypatch):
    raw = codec.dumps(vanishing.Thing())
    monkeypatch.delitem(sys.modules, "vanishing")
    with pytest.raises(PayloadError, match="needs the module 'vanishing', which is not") as caught:
        codec.loads(raw)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_class_is_named(vanishing):
    data = codec.pack([vanishing.Thing()])
    del vanishing.Thing
    with pytest.raises(PayloadError, match="needs 'Thing', which the module 'vanishing' does not"):
        codec.unpack(data)


def test_a_missing_class_of_a_class_is_named(vanishing):
    data = codec.pack([vanishing.Thing.Part()])
    del vanishing.Thing.Part
    needs = "needs 'Thing.Part', which the module 'vanishing' does not"
    with pytest.raises(PayloadError, match=needs):
        codec.unpack(data)
    del vanishing.Thing
    with pytest.raises(PayloadError, match=needs):
        codec.unpack(data)


def test_errors_while_loading_are_payload_errors():
    with pytest.raises(PayloadError, match="cannot be read: ValueError: no thanks") as caught:
        codec.loads(codec.dumps(Unloadable()))
    assert isinstance(caught.value.__cause__, ValueError)


@given(VALUES, st.data())
def test_a_cut_pickle_is_a_payload_error(value, data):
    raw = codec.dumps(value)
    with pytest.raises(PayloadError):
        codec.loads(raw[: data.draw(st.integers(0, len(raw) - 1))])


def test_small_pickles_stay_as_they_are():
    for size in (codec.SMALL, codec.SMALL + 1):
        raw = codec.dumps(b"x" * (size - (len(codec.dumps(b"x" * size)) - size)))
        assert len(raw) == size
        kept = codec.compress_small(raw)
        assert (kept is raw) == (size == codec.SMALL)
        assert codec.unpack(kept) == codec.loads(raw)


@pytest.mark.parametrize("data", [b"", b"\x1f", b"hello", b"PK\x03\x04", b"\x00" * 20])
def test_what_is_no_payload_is_refused(data):
    with pytest.raises(PayloadError, match="is not a payload"):
        codec.unpack(data)


SIZES = [0, 1, 23, 1000, 65_534, 65_535, 65_536, 131_069, 131_070, 131_071, 200_000]


@pytest.mark.parametrize("source", [NOISE, TEXT, bytes(200_000)], ids=["noise", "text", "zeros"])
@pytest.mark.parametrize("size", SIZES)
def test_any_gunzip_opens_a_container(source, size):
    raw = source[:size]
    packed = codec.compress(raw)
    assert gzip.decompress(packed) == raw
    assert codec.decompress(packed) == raw
    assert packed[4:8] == b"\0\0\0\0"


@pytest.mark.skipif(shutil.which("gzip") is None, reason="needs the gzip command")
@pytest.mark.parametrize("raw", [b"", b"tiny", NOISE, TEXT], ids=["empty", "tiny", "noise", "text"])
def test_the_gzip_command_opens_a_container(raw):
    packed = codec.compress(raw)
    run = subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=True)
    assert (run.stdout, run.stderr) == (raw, b"")
    assert subprocess.run(["gzip", "-t"], input=packed, check=True).returncode == 0


def test_noise_is_stored_and_text_is_squeezed():
    assert len(codec.compress(NOISE)) == len(NOISE) + 18 + 5 * 5
    assert len(codec.compress(NOISE[:100])) == 100 + 18 + 5 * 2
    assert len(codec.compress(TEXT)) < len(TEXT) / 4
    assert len(codec.compress(TEXT[:20_000])) < 5000


@pytest.mark.parametrize("value", [NOISE, NOISE[:1000], [NOISE, TEXT[:1000]]])
def test_where_readers_have_a_checksum_a_pickle_that_does_not_shrink_is_stored_as_it_is(value):
    chunks = codec.dumps_chunks(value)
    stored = b"".join(codec.compress_checked(chunks))
    assert stored == b"".join(chunks)
    assert codec.unpack(stored) == value


def test_where_readers_have_a_checksum_text_is_squeezed_all_the_same():
    chunks = codec.dumps_chunks(TEXT)
    assert codec.compress_checked(chunks) == codec.compress_chunks(chunks)


def test_the_sample_looks_past_the_beginning():
    assert len(codec.compress(NOISE[:30_000] + TEXT)) < 0.6 * (30_000 + len(TEXT))
    assert len(codec.compress(TEXT[:5000] + NOISE)) > len(NOISE)


@given(st.binary(max_size=5000))
def test_containers_of_others_are_read(raw):
    assert codec.decompress(gzip.compress(raw, 9)) == raw
    assert codec.decompress(gzip.compress(raw, 0, mtime=0)) == raw
    assert codec.decompress(zlib.compress(raw, 6, 31)) == raw


def containers():
    small = st.binary(max_size=300).map(codec.compress)
    squeezed = st.integers(1, 3000).map(lambda size: codec.compress(TEXT[:size]))
    blocks = st.integers(65_530, 140_000).map(lambda size: codec.compress(NOISE[:size]))
    return st.one_of(small, squeezed, blocks)


@given(containers(), st.data())
def test_flipped_bytes_are_found_or_harmless(packed, data):
    raw = codec.decompress(packed)
    damaged = bytearray(packed)
    near_an_end = st.integers(-40, 40)
    anywhere = st.integers(0, len(packed) - 1)
    for place in data.draw(st.lists(near_an_end | anywhere, min_size=1, max_size=4)):
        damaged[place % len(packed)] ^= data.draw(st.integers(1, 255))
    with suppress(PayloadError):
        assert codec.decompress(bytes(damaged)) == raw


@given(containers(), st.data())
def test_cut_containers_are_found(packed, data):
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(PayloadError):
        codec.decompress(packed[:cut])
    with pytest.raises(PayloadError):
        codec.decompress(packed[:cut] + packed[cut + 1 :])


@given(containers(), st.binary(min_size=1, max_size=50))
def test_trailing_bytes_are_found(packed, more):
    with pytest.raises(PayloadError):
        codec.decompress(packed + more)


@given(st.binary(max_size=200))
def test_rubbish_is_no_container(data):
    for rubbish in (data, b"\x1f\x8b" + data, codec.compress(b"")[:10] + data):
        with suppress(PayloadError):
            codec.decompress(rubbish)


def test_a_flipped_bit_of_the_body_is_found_unless_it_means_nothing():
    for raw in (b"stored", TEXT[:200]):
        packed = codec.compress(raw)
        for bit in range(8 * 10, 8 * len(packed)):
            damaged = bytearray(packed)
            damaged[bit // 8] ^= 1 << bit % 8
            # RFC 1951: a stored block ignores bits up to the next byte (3.2.4), and what follows
            # the last block in its last byte is padding (3.1.1).
            place = bit // 8
            headers = (10, len(packed) - 13)  # of the block that holds it and of the last, empty
            stored = raw == b"stored"
            if place in headers and bit % 8 >= 3 if stored else place == len(packed) - 9:
                with suppress(PayloadError):
                    assert codec.decompress(bytes(damaged)) == raw
                continue
            with pytest.raises(PayloadError, match=r"damaged|truncated"):
                codec.decompress(bytes(damaged))


def test_a_wrong_checksum_or_length_is_found():
    for packed in (codec.compress(NOISE), codec.compress(TEXT)):
        for place in (-1, -5):
            damaged = bytearray(packed)
            damaged[place] ^= 1
            with pytest.raises(PayloadError, match="damaged"):
                codec.decompress(bytes(damaged))


@given(st.recursive(st.binary(max_size=300) | st.integers(), st.lists))
def test_parts_are_the_pickle_and_come_back(value):
    parts = codec.dumps_chunks(value)
    assert codec.loads(b"".join(parts)) == value
    assert codec.loads_chunks(parts) == value
    assert gzip.decompress(b"".join(codec.compress_chunks(parts))) == b"".join(parts)


def test_large_bytes_are_parts_by_themselves_and_not_copied():
    large = NOISE * 2
    parts = codec.dumps_chunks([1, large, "text", bytearray(NOISE)])
    assert any(part is large for part in parts)
    assert codec.loads_chunks(parts) == [1, large, "text", bytearray(NOISE)]
    stored = codec.compress_chunks(parts)
    assert codec.unpack(b"".join(stored)) == [1, large, "text", bytearray(NOISE)]


def test_parts_do_not_change_with_what_they_were_made_of():
    changing = bytearray(NOISE)
    parts = codec.dumps_chunks(changing)
    changing[:] = bytes(len(changing))
    assert codec.loads_chunks(parts) == NOISE


def test_parts_of_what_pickle_refuses():
    assert codec.loads_chunks(codec.dumps_chunks(lambda: 3))() == 3
    with pytest.raises(PayloadError, match="cannot be pickled"):
        codec.dumps_chunks(threading.Lock())
    with pytest.raises(PayloadError, match="cannot be read"):
        codec.loads_chunks([b"\x80\x05", b"rubbish"])


class Refusing:
    """A value whose own pickling code fails, which is no matter of what pickle can do."""

    def __reduce__(self):
        raise ValueError("not now")


@pytest.mark.parametrize("dumps", [codec.dumps, codec.dumps_chunks])
def test_an_error_of_a_values_own_pickling_is_reported_with_its_type(dumps):
    with pytest.raises(PayloadError, match=r"type '.*Refusing' cannot be pickled: .*not now"):
        dumps(Refusing())


def test_parts_that_end_too_early_are_refused():
    with pytest.raises(PayloadError, match="cannot be read"):
        codec.loads_chunks([codec.dumps("a text of some length")[:-8]])
