"""Slices of tables are stored as what they show, and come back as they were."""

from __future__ import annotations

import dataclasses
import io
import mmap
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki.errors import PayloadError
from lokki.store import codec

COUNT = 20_000
INTS = pa.array(np.arange(COUNT))
TEXTS = pa.array([f"number {n} of many" if n % 7 else None for n in range(COUNT)])


class Metres(pa.ExtensionType):
    """A type that no reader knows but by its pickle."""

    def __init__(self):
        super().__init__(pa.int64(), "tests.metres")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls()

    def __arrow_ext_class__(self):
        return MetresArray


class MetresArray(pa.ExtensionArray):
    pass


def union(mode):
    kinds = pa.array([0, 1] * (COUNT // 2), pa.int8())
    if mode == "sparse":
        return pa.UnionArray.from_sparse(kinds, [INTS, TEXTS])
    offsets = pa.array(range(COUNT), pa.int32())
    return pa.UnionArray.from_dense(kinds, offsets, [INTS, TEXTS])


PAIRS = [[n, None] if n % 5 else None for n in range(COUNT)]
ARRAYS = {
    "int": INTS,
    "int with nulls": pa.array([n if n % 3 else None for n in range(COUNT)]),
    "float": pa.array(np.arange(COUNT) / 7),
    "bool": pa.array([n % 3 == 0 for n in range(COUNT)]),
    "null": pa.nulls(COUNT),
    "text": TEXTS,
    "large text": TEXTS.cast(pa.large_string()),
    "text view": TEXTS.cast(pa.string_view()),
    "binary view": TEXTS.cast(pa.binary()).cast(pa.binary_view()),
    "fixed binary": pa.array([b"0123456789abcdef"] * COUNT, pa.binary(16)),
    "decimal": pa.array(range(COUNT), pa.decimal128(20, 2)),
    "timestamp": pa.array(range(COUNT), pa.timestamp("us", "Europe/Helsinki")),
    "list": pa.array(PAIRS),
    "large list": pa.array(PAIRS, pa.large_list(pa.int64())),
    "list view": pa.array(PAIRS, pa.list_view(pa.int64())),
    "fixed list": pa.array(PAIRS, pa.list_(pa.int64(), 2)),
    "struct": pa.array([{"a": n, "b": {"c": str(n)}} if n % 5 else None for n in range(COUNT)]),
    "map": pa.array([[("k", n)] for n in range(COUNT)], pa.map_(pa.string(), pa.int64())),
    "dictionary": pa.array(["emu", "ox", None, "hen"] * (COUNT // 4)).dictionary_encode(),
    "run ends": pc.run_end_encode(pa.array(np.arange(COUNT) // 10)),
    "sparse union": union("sparse"),
    "dense union": union("dense"),
    "extension": pa.ExtensionArray.from_storage(Metres(), INTS),
    "uuid": pa.array([b"0123456789abcdef"] * COUNT, pa.uuid()),
}
SLICES = st.tuples(
    st.sampled_from(sorted(ARRAYS)), st.integers(0, COUNT), st.integers(0, 40), st.booleans()
)


@given(SLICES)
def test_a_slice_comes_back_as_it_was_and_takes_what_it_shows(drawn):
    name, start, length, by_value = drawn
    part = ARRAYS[name].slice(start, length)
    raw = (codec.dumps_by_value if by_value else codec.dumps)({"part": part})
    again = codec.loads(raw)["part"]
    assert again.equals(part)
    assert (again.type, type(again)) == (part.type, type(part))
    again.validate(full=True)
    assert len(raw) < 10_000


@pytest.mark.parametrize("make", ["table", "batch", "chunks"])
def test_tables_batches_and_chunks_of_slices(make):
    fields = [pa.field(name, each.type, metadata={"of": name}) for name, each in ARRAYS.items()]
    whole = pa.table(list(ARRAYS.values()), pa.schema(fields, metadata={"made": "here"}))
    value = {
        "table": whole.slice(77, 5),
        "batch": whole.to_batches()[0].slice(77, 5),
        "chunks": pa.chunked_array([INTS.slice(9, 3), INTS.slice(0, 0), INTS.slice(3, 2)]),
    }[make]
    raw = codec.dumps(value)
    again = codec.loads(raw)
    assert type(again) is type(value)
    if make == "chunks":
        assert again.equals(value)
        assert [len(chunk) for chunk in again.chunks] == [3, 0, 2]
    else:
        assert again.equals(value, check_metadata=True)
    assert len(raw) < 30_000


@dataclasses.dataclass
class Held:
    part: object


@pytest.mark.parametrize("large", [False, True])
def test_what_holds_a_slice_is_small_too(large):
    table = pa.table({"n": INTS, "text": TEXTS})
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    value = [Held(table.slice(5, 2)), {"frame": frame[5:7]}, (table["n"].slice(5, 2),)]
    raw = b"".join(codec.dumps_chunks(value)) if large else codec.dumps(value)
    held, named, (chunks,) = codec.loads(raw)
    assert held.part.equals(table.slice(5, 2))
    pd.testing.assert_frame_equal(named["frame"], frame[5:7])
    assert chunks.equals(table["n"].slice(5, 2))
    assert len(raw) < 10_000


def test_a_whole_array_is_not_copied():
    parts = codec.dumps_chunks(INTS)
    assert b"".join(parts) == pickle.dumps(INTS, 5)


def test_anybody_can_read_a_slice():
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer).to_pylist())"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        input=codec.dumps(INTS.slice(3, 2)),
        capture_output=True,
        check=True,
    )
    assert done.stdout.strip() == b"[3, 4]"
    assert b"lokki" not in codec.dumps(INTS.slice(3, 2))


@pytest.mark.parametrize(
    "part",
    [
        np.arange(COUNT)[5:9],
        np.asfortranarray(np.zeros((COUNT, 2)))[5:9],
        pd.DataFrame({"n": np.arange(COUNT), "text": TEXTS.to_pylist()})[5:9],
        pd.Series(np.arange(COUNT))[5:9],
        pl.DataFrame({"n": np.arange(COUNT), "text": TEXTS.to_pylist()})[5:9],
        pl.Series(TEXTS.to_pylist())[5:9],
        pl.DataFrame({"n": np.arange(COUNT)})[5:9].lazy(),
        memoryview(bytes(COUNT))[5:9],
        INTS.buffers()[1].slice(5, 9),
        INTS[5],
    ],
    ids=lambda part: f"{type(part).__module__}.{type(part).__qualname__}",
)
def test_parts_of_other_libraries_take_what_they_show(part):
    raw = codec.dumps(part)
    assert len(raw) < 6_000
    assert type(codec.loads(raw)) is type(part)


def test_a_part_of_a_memory_map_of_numpy_is_stored_without_its_file(tmp_path):
    np.save(tmp_path / "whole.npy", np.arange(COUNT))
    part = np.load(tmp_path / "whole.npy", mmap_mode="r")[5:9]
    raw = codec.dumps(part)
    assert len(raw) < 6_000
    (tmp_path / "whole.npy").unlink()
    assert codec.loads(raw).tolist() == [5, 6, 7, 8]


def test_a_lazy_frame_over_much_in_memory_is_refused():
    frame = pl.DataFrame({"n": np.arange(1_000_000)}).lazy().slice(5, 4)
    for dumps in (codec.dumps, codec.dumps_chunks, codec.dumps_by_value):
        with pytest.raises(
            PayloadError, match=r"8,\d+,\d+ bytes in memory: return frame.collect\(\)"
        ):
            dumps([frame])


@pytest.mark.parametrize("kind", ["reader", "map"])
def test_what_is_open_is_refused(tmp_path, kind):
    if kind == "reader":
        value = pa.table({"n": INTS}).to_reader()
    else:
        (tmp_path / "file").write_bytes(b"text")
        with (tmp_path / "file").open("rb") as file:
            value = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with pytest.raises(PayloadError, match="cannot be pickled"):
        codec.dumps([value])


def test_files_in_memory_are_no_columns():
    assert codec.loads(codec.dumps(io.BytesIO(b"PNG"))).getvalue() == b"PNG"


def test_neither_library_is_imported_for_values_of_others():
    script = (
        "import sys; from lokki.store import codec\n"
        "codec.loads(codec.dumps([1, {'a': 2.0}])); codec.dumps_by_value(lambda: 1)\n"
        "assert not {'pyarrow', 'polars', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
