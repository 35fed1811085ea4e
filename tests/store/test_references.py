"""References to payloads: nothing but what was recorded is read back."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lokki.errors import PayloadError
from lokki.store.keys import output_key
from lokki.store.local import LocalStore
from lokki.store.memory import MemoryStore
from lokki.store.references import Reference, stored
from lokki.store.rows import StageRow

KEY = output_key("flow", "run-1", "clean", 7, "w0a")
TASK = StageRow(1, "run-1", 0, "clean", "task", 1.0, None, 1)
MAP = StageRow(1, "run-1", 0, "clean", "map", 1.0, None, 9)


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_a_reference_is_a_text_with_what_sha256sum_tells(parts):
    data = b"".join(parts)
    reference = Reference.of(KEY, [memoryview(part) for part in parts])
    assert Reference.parse(str(reference)) == reference == Reference.of(KEY, data)
    assert str(reference) == f"{KEY} {len(data)} {hashlib.sha256(data).hexdigest()}"
    reference.check(data)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_any_other_data_is_refused(recorded, found):
    assume(recorded != found)
    differs = "its content differs" if len(recorded) == len(found) else f"{len(found)} bytes, not"
    with pytest.raises(PayloadError, match=differs):
        Reference.of(KEY, recorded).check(found)


def test_a_key_alone_is_of_an_older_lokki_and_reads_on():
    reference = Reference.parse(KEY)
    assert (reference.key, str(reference)) == (KEY, KEY)
    reference.check(b"whatever it is")


@pytest.mark.parametrize("text", ["a b", "a -1 c", "a 1 b c", "a x 0f"])
def test_what_is_no_reference_is_reported(text):
    with pytest.raises(PayloadError, match="is not a reference"):
        Reference.parse(text)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["local", "memory"])
@pytest.mark.parametrize("found", [None, b"other", b"another"])
async def test_an_item_whose_payload_is_another_is_reported_with_what_to_do(tmp_path, kind, found):
    store = LocalStore(tmp_path) if kind == "local" else MemoryStore()
    ref = str(Reference.of(KEY, b"right"))
    await store.put(KEY, b"right")
    assert await stored(store, MAP, 7, ref, bytes.upper) == b"RIGHT"
    await store.delete_prefix(KEY.rpartition("/")[0])
    if found is not None:
        await store.put(KEY, found)
    for stage, item in ((MAP, ", item 7,"), (TASK, "")):
        with pytest.raises(PayloadError) as caught:
            await stored(store, stage, 7, ref, bytes.upper)
        told = str(caught.value)
        assert told.startswith(f"the result of step 'clean'{item} cannot be read back: ")
        assert f"the payload {store.url(KEY)}: " in told
        assert told.endswith("or resume it from stage 'clean', which makes it again")
