import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki.errors import PayloadError
from lokki.store.keys import (
    check_key,
    check_part,
    is_part,
    manifest_key,
    output_key,
    run_prefix,
    step_prefix,
    writers_folder,
    zip_key,
)

PARTS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}", fullmatch=True),
    st.text(alphabet="aZ09._-/\\\0 \né", max_size=6),
    st.text(max_size=90),
    st.sampled_from([".", "..", "...", "", "/", "runs", "artifacts", "output.pkl.gz", "a/b"]),
)
INDEXES = st.none() | st.integers(-2, 10**9)


def test_layout():
    assert output_key("f", "r-1", "s") == "f/runs/r-1/s/output.pkl.gz"
    assert output_key("f", "r-1", "s", 0) == "f/runs/r-1/s/0/output.pkl.gz"
    assert output_key("f", "r-1", "s", writer="w1") == "f/runs/r-1/s/w1/output.pkl.gz"
    assert output_key("f", "r-1", "s", 0, "w1") == "f/runs/r-1/s/w1/0.pkl.gz"
    assert manifest_key("f", "r-1", "s") == "f/runs/r-1/s/map_manifest.json"
    assert run_prefix("f", "r-1") == "f/runs/r-1"
    assert zip_key("f") == "f/artifacts/lambdas/function.zip"


@pytest.mark.parametrize("index", [None, 0, 12])
def test_a_writers_keys_are_in_its_folder_and_those_of_aws_in_none(index):
    ours = output_key("f", "r", "w", index, "w1")
    assert writers_folder(ours) == step_prefix("f", "r", "w", "w1") == "f/runs/r/w/w1"
    assert ours.startswith("f/runs/r/w/w1/")
    assert writers_folder(output_key("f", "r", "w", index)) is None


@given(PARTS, PARTS, PARTS, INDEXES)
def test_a_key_is_refused_or_splits_back_into_its_parts(flow, run_id, step, index):
    try:
        key = output_key(flow, run_id, step, index)
    except PayloadError:
        assert not all(map(is_part, (flow, run_id, step))) or (index is not None and index < 0)
        return
    middle = [] if index is None else [str(index)]
    assert key.split("/") == [flow, "runs", run_id, step, *middle, "output.pkl.gz"]
    assert key.startswith(run_prefix(flow, run_id) + "/")
    assert check_key(key) == key
    assert manifest_key(flow, run_id, step).split("/") == [
        flow,
        "runs",
        run_id,
        step,
        "map_manifest.json",
    ]
    assert zip_key(flow).split("/")[0] == flow


@given(st.lists(st.tuples(PARTS, PARTS, PARTS, INDEXES), max_size=8))
def test_distinct_parts_never_share_a_key_nor_nest(calls):
    keys = {}
    for call in calls:
        try:
            key = output_key(*call)
        except PayloadError:
            continue
        assert keys.setdefault(key, call) == call
    for key in keys:
        assert not any(other.startswith(key + "/") for other in keys)


@pytest.mark.parametrize("part", ["", ".", "..", ".a", "-a", "a/b", "a\\b", "a\n", "é", "x" * 81])
def test_bad_parts_are_named_with_what_is_allowed(part):
    with pytest.raises(PayloadError) as caught:
        check_part(part, "run id")
    assert str(caught.value).startswith(f"run id {part!r} cannot be part of a storage key")
    assert "1 to 80 ASCII letters" in str(caught.value)


@pytest.mark.parametrize("part", ["a", "_a", "0", "a.b-c_d", "clean-2", "x" * 80, "a.."])
def test_good_parts_are_returned(part):
    assert check_part(part, "run id") is part


def test_the_wrong_part_is_named():
    with pytest.raises(PayloadError, match="flow name 'a b'"):
        output_key("a b", "r", "s")
    with pytest.raises(PayloadError, match="run id 'a b'"):
        output_key("f", "a b", "s")
    with pytest.raises(PayloadError, match="step name '<lambda>'"):
        output_key("f", "r", "<lambda>")
    with pytest.raises(PayloadError, match="step name '<lambda>'"):
        manifest_key("f", "r", "<lambda>")
    with pytest.raises(PayloadError, match="flow name"):
        zip_key("..")
    with pytest.raises(PayloadError, match="index -1"):
        output_key("f", "r", "s", -1)
    with pytest.raises(PayloadError, match=r"in prefix 'a/\.\./b', the part '..' cannot"):
        check_key("a/../b", "prefix")
