"""Recorded runs as Python objects, and the tables that they have."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import anyio
import pytest

import lokki
from lokki import DefinitionError, LokkiError, RunCancelled, RunFailed, Table, flow, step
from lokki.engine.events import StageStarted


@step
def numbers(count):
    return list(range(count))


@step
def check(number):
    if number % 2:
        raise ValueError(f"{number} is <odd>")
    return number


@flow
def tolerant(count: int = 4):
    return numbers(count).map(check, tolerated_failures=0.9)


@flow(tags=["exact", "nightly"])
def strict(count: int = 2):
    return numbers(count).map(check)


def test_a_run_has_its_result_items_and_failures():
    tolerant.run_sync()
    run = lokki.open_run()
    assert (run.flow, run.status, run.params) == ("tolerant", "succeeded", {"count": 4})
    assert run.result() == [0, 2]
    assert [(row["stage"], row["index"], row["status"]) for row in run.items] == [
        ("numbers", 0, "succeeded"),
        ("check", 0, "succeeded"),
        ("check", 1, "tolerated"),
        ("check", 2, "succeeded"),
        ("check", 3, "tolerated"),
    ]
    (first, second) = run.failures
    assert (first["index"], first["error"], first["message"]) == (1, "ValueError", "1 is <odd>")
    assert second["started"] <= second["finished"] <= datetime.now(UTC)
    assert [row["tolerated"] for row in run.stages] == [0, 2]


@step
def drawn():
    lokki.show("**three**", "Note")
    lokki.show("<p title='\"'>", "Page", kind="html")
    lokki.show(b"\x89PNG\r\n\x1a\n", "Dot")
    lokki.show([{"bird": "<wren>"}], "Table")


@flow
def drawing():
    return drawn()


def test_what_its_steps_have_shown_is_displayed_so_that_it_cannot_change_the_notebook():
    drawing.run_sync()
    note, page, dot, table = lokki.open_run().shown
    assert (note.title, note.step, note.item, note.attempt) == ("Note", "drawn", None, 1)
    assert (note.content, repr(note)) == (b"**three**", "<text/markdown 'Note' of drawn>")
    bundles = [each._repr_mimebundle_() for each in (note, page, dot, table)]
    assert bundles[0] == {"text/plain": repr(note), "text/markdown": "**three**"}
    texts = [each["text/html"] for each in bundles[1:]]
    assert texts[0].startswith('<iframe sandbox="allow-scripts" ')
    assert 'srcdoc="&lt;p title=&#x27;&quot;&#x27;&gt;"></iframe>' in texts[0]
    assert texts[1].startswith('<img src="data:image/png;base64,iVBORw0KGgo=" ')
    assert "&lt;wren&gt;" in texts[2]


def test_the_result_of_a_failed_run_is_its_error():
    with pytest.raises(RunFailed) as failed:
        strict.run_sync()
    run = lokki.open_run(flow="strict")
    with pytest.raises(RunFailed, match="1 is <odd>") as again:
        run.result()
    assert (again.value.run_id, again.value.index) == (failed.value.run_id, 1)


@pytest.mark.asyncio
async def test_a_run_can_be_read_where_an_event_loop_runs():
    await tolerant.run(count=1)
    assert lokki.open_run().result() == [0]


@step
async def forever():
    await anyio.sleep_forever()


@flow
def endless():
    return forever()


@pytest.mark.asyncio
async def test_a_run_that_does_not_end_in_time_and_one_that_is_cancelled():
    async with lokki.Engine() as engine:
        handle = engine.submit(endless)
        async for event in handle.events():
            if isinstance(event, StageStarted):
                break
        run = lokki.open_run(handle.run_id)
        with pytest.raises(TimeoutError, match="is running after 0 s"):
            run.result(timeout=0)
        handle.cancel()
    with pytest.raises(RunCancelled):
        run.result()


def test_runs_are_listed_by_flow_and_status():
    tolerant.run_sync(count=1)
    with pytest.raises(RunFailed):
        strict.run_sync()
    failed, fine = found = lokki.runs()
    assert (failed["tags"], fine["tags"]) == (["exact", "nightly"], [])
    assert "exact, nightly" in repr(found)
    assert (failed["flow"], failed["status"], failed["params"]) == (
        "strict",
        "failed",
        {"count": 2},
    )
    assert failed["error"] == "ValueError: 1 is <odd>"
    assert [row["id"] for row in lokki.runs(status="succeeded")] == [fine["id"]]
    assert [row["id"] for row in lokki.runs(flow="strict", limit=1)] == [failed["id"]]
    assert len(lokki.runs(since=datetime.now(UTC))) == 0


def test_a_wrong_status_or_place_is_refused():
    with pytest.raises(DefinitionError, match=r"status must be one of queued, running, .*'done'"):
        lokki.runs(status="done")
    with pytest.raises(DefinitionError, match="on must be 'local', 'aws' or the URL"):
        lokki.open_run(on="azure")


odd_is_fine = False


@step
def lenient(number):
    if number % 2 and not odd_is_fine:
        raise ValueError(f"{number} is odd")
    return number


@flow
def changing():
    return numbers(3).map(lenient)


def test_a_failed_run_is_resumed_by_its_id_or_as_the_last(monkeypatch):
    with pytest.raises(RunFailed) as failed:
        changing.run_sync()
    with pytest.raises(RunFailed) as again:
        changing.resume_sync("last")
    assert again.value.run_id == failed.value.run_id
    monkeypatch.setattr(sys.modules[__name__], "odd_is_fine", True)
    assert changing.resume_sync(failed.value.run_id) == [0, 1, 2]
    assert len(lokki.runs()) == 1


TABLE = Table(("name", "size"), [{"name": f"<{size}>", "size": size} for size in range(30)])


def test_a_table_is_a_sequence_of_rows():
    assert (len(TABLE), TABLE[2], TABLE[-1]["size"]) == (30, {"name": "<2>", "size": 2}, 29)
    assert [row["size"] for row in TABLE[:2]] == [0, 1]


def test_a_table_is_shown_with_its_first_rows():
    at = datetime(2026, 2, 3, 10, 30, 1, 500_000, UTC)
    assert repr(Table(("at", "why"), [{"at": at, "why": None}])).split() == [
        "at",
        "why",
        "2026-02-03",
        "10:30:01Z",
    ]
    assert repr(TABLE[:2]) == "name  size\n<0>   0\n<1>   1"
    assert repr(TABLE).endswith("and 10 more: .to_pandas() has all")
    shown = TABLE._repr_html_()
    assert shown.count("<tr>") == 21
    assert "&lt;19&gt;" in shown
    assert "<19>" not in shown
    assert "and 10 more" in shown


def test_a_table_becomes_a_data_frame():
    frame = TABLE.to_pandas()
    assert (list(frame.columns), frame["size"].sum()) == (["name", "size"], sum(range(30)))
    assert list(Table(("a",), []).to_pandas().columns) == ["a"]


def test_a_data_frame_needs_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(LokkiError, match=r"needs pandas, .*: pip install pandas"):
        TABLE.to_pandas()
