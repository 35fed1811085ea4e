"""What steps show: how values look, within which bounds, from wherever a step runs."""

from __future__ import annotations

import datetime
import json
import os
import threading
from contextlib import closing

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import lokki
from lokki import LokkiError, Secret, flow, step
from lokki.engine import recorder
from lokki.showing.contents import content_of
from lokki.store.attachments import Attachments
from lokki.store.connection import Reader
from lokki.store.history import History

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
SVG = "<svg xmlns='http://www.w3.org/2000/svg'><circle r='1'/></svg>"
FRAME = pd.DataFrame({"name": ["wren", "owl"], "mass": [9.5, None]})


def table(value):
    kind, data = content_of(value)
    assert kind == "application/json"
    found = json.loads(data)
    return found["columns"], found["rows"]


class Drawn:
    """Shows itself in notebooks by the methods that it is given."""

    def __init__(self, **reprs):
        for name, value in reprs.items():
            setattr(self, f"_repr_{name}_", lambda value=value: value)


class Figure:
    """Saves itself as figures of matplotlib do."""

    def savefig(self, file, format, bbox_inches):
        assert (format, bbox_inches) == ("png", "tight")
        file.write(PNG)


def of(package, **methods):
    """A value of a class of a package."""
    return type("Chart", (), {"__module__": f"{package}.inside", **methods})()


# ---- how values look -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "columns", "rows"),
    [
        (FRAME, ["name", "mass"], [["wren", 9.5], ["owl", "nan"]]),
        (FRAME.set_index("name"), ["name", "mass"], [["wren", 9.5], ["owl", "nan"]]),
        (FRAME["name"], ["name"], [["wren"], ["owl"]]),
        (pl.DataFrame({"a": [1, None]}), ["a"], [[1], [None]]),
        (pl.Series("a", [True]), ["a"], [[True]]),
        (pa.table({"a": [1], "b": ["x"]}), ["a", "b"], [[1, "x"]]),
        (np.eye(2), ["0", "1"], [[1.0, 0.0], [0.0, 1.0]]),
        (np.array([1, 2]), [""], [[1], [2]]),
        ([{"a": 1}, {"b": np.int64(2)}], ["a", "b"], [[1, None], [None, 2]]),
        ({"loss": float("inf")}, ["loss"], [["inf"]]),
        ({"day": datetime.date(2026, 1, 2)}, ["day"], [["2026-01-02"]]),
        ({"huge": 10**5000}, ["huge"], [[f"{hex(10**5000)[:1000]}…"]]),
    ],
)  # fmt: skip
def test_a_table_has_its_columns_and_rows(value, columns, rows):
    assert table(value) == (columns, rows)


def test_a_long_table_is_cut_and_says_so():
    wide = content_of(pd.DataFrame(np.zeros((2_000, 101))))
    found = json.loads(wide.data)
    assert (len(found["rows"]), len(found["columns"]), found["total"]) == (1_000, 100, 2_000)
    assert found["cut"] == "the first 1,000 of 2,000 rows, the first 100 of 101 columns"
    long = json.loads(content_of([{"text": 2_000 * "x"}] * 1_000).data)
    assert len(long["rows"][0][0]) == 1_001  # with an ellipsis
    assert 900 < len(long["rows"]) < 1_000
    assert json.loads(content_of([{"a": 1}]).data)["cut"] == ""


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("# Birds", "text/markdown"),
        (SVG, "image/svg+xml"),
        (f"<?xml version='1.0'?>{SVG}", "image/svg+xml"),
        ("<!DOCTYPE html><p>hi", "text/html"),
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (SVG.encode(), "image/svg+xml"),
        (Figure(), "image/png"),
        (Drawn(png=PNG, html="<p>"), "image/png"),
        (Drawn(png=None, svg=SVG), "image/svg+xml"),
        (Drawn(png=(PNG, {"width": 1})), "image/png"),
        (Drawn(markdown="# a"), "text/markdown"),
        (Drawn(html="<p>hi</p>"), "text/html"),
        (Drawn(png=bytes(5_000_000), jpeg=b"\xff\xd8\xff"), "image/jpeg"),
        (of("plotly", to_html=lambda self, **given: f"<html>{sorted(given)}"), "text/html"),
    ],
)
def test_a_value_has_a_type(value, kind):
    assert content_of(value).type == kind


def test_a_text_is_html_if_that_is_said():
    assert content_of("<p>hi", "html") == ("text/html", b"<p>hi")
    assert content_of("<html>", "markdown").type == "text/markdown"


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (7, None, r"cannot show a value of builtins\.int: give it Markdown or HTML"),
        (Figure, None, r"cannot show the class test_showing\.Figure"),
        (b"words", None, "knows these bytes for no picture"),
        (PNG, "html", r"says what a text is, not a value of builtins\.bytes"),
    ],
)
def test_what_cannot_be_shown_is_a_type_error(value, kind, message):
    with pytest.raises(TypeError, match=message):
        content_of(value, kind)


def test_a_chart_of_altair_needs_a_package():
    with pytest.raises(LokkiError, match="vl-convert-python"):
        content_of(of("altair", to_dict=dict))


def test_outside_a_run_it_is_printed(capsys):
    lokki.show("# Birds", "Notes")
    lokki.show(PNG)
    lokki.show([{"a": 1}], "Table")
    assert capsys.readouterr().out == ("Notes: # Birds\nimage/png, 72 bytes\nTable: [{'a': 1}]\n")
    with pytest.raises(TypeError):
        lokki.show(7)


# ---- from a step ---------------------------------------------------------------------------------


@step
def seven():
    return [7]


@step
def in_thread(number):
    thread = threading.Thread(target=lokki.show, args=("from a thread",))
    thread.start()
    thread.join()
    lokki.show(FRAME, "Frame")


@step
async def in_task(number):
    lokki.show("from a task")
    lokki.show(FRAME, "Frame")


@step(executor="process")
def in_process(number):
    lokki.show("from a process")
    lokki.show(FRAME, "Frame")
    lokki.show(PNG + bytes(3_000_000))


@step(retry={"retries": 1, "delay": 0})
def at_last(number):
    attempt = lokki.current().attempt
    lokki.show(f"attempt {attempt}")
    if attempt == 1:
        raise ValueError("not yet")


@step
def too_large(number):
    lokki.show(PNG + bytes(5_000_000), "Large")


@step
def too_many(number):
    for each in range(103):
        lokki.show(str(each))


@step
def in_child(number):
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 0
    try:
        lokki.show("from a child")
    except LokkiError as error:
        code = 3 if "in the process of the step" in str(error) else 4
    os._exit(code)


@step
def leaking(number, token: Secret[str]):
    lokki.show(f"it is {token.value}", f"about {token.value}")
    lokki.show([{"token": token.value}])


@flow
def showing(how: str = ""):
    return seven().map(globals()[how])


@flow
def hiding(token: Secret[str]):
    return seven().map(leaking)


@pytest.fixture
def shown(journal):
    """Runs a flow; its result, what it has shown by name (title and content), and its warnings."""

    def run(each, **params):
        result = each.run_sync(**params)
        with closing(Reader(journal)) as read:
            history, values = History(read), Attachments(read)
            run_id = history.find("last").id
            found = {
                value.name: (value.title, values.content(run_id, value.name)[1])
                for value in values.page(run_id, limit=1_000)
            }
            return result, found, [line.message for line in history.lines(run_id, level="WARNING")]

    return run


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("in_thread", b"from a thread"),
        ("in_task", b"from a task"),
        ("in_process", b"from a process"),
    ],
)
def test_it_is_recorded_from_wherever_a_step_runs(shown, how, text):
    _, found, told = shown(showing, how=how)
    assert found[f"{how}.0.1.0"] == (None, text)
    title, frame = found[f"{how}.0.1.1"]
    assert (title, json.loads(frame)["rows"]) == ("Frame", [["wren", 9.5], ["owl", "nan"]])
    assert told == []
    if how == "in_process":
        assert found[f"{how}.0.1.2"] == (None, PNG + bytes(3_000_000))


def test_a_failed_attempt_keeps_what_it_has_shown(shown):
    _, found, _ = shown(showing, how="at_last")
    assert found == {
        "at_last.0.1.0": (None, b"attempt 1"),
        "at_last.0.2.0": (None, b"attempt 2"),
    }


def test_what_is_too_large_is_replaced_by_a_reason(shown, capfd):
    _, found, told = shown(showing, how="too_large")
    (why,) = told
    assert why == (
        "not shown: a picture may have 4 MB, and this one has 5.0 MB: make it smaller, or save it "
        "as JPEG"
    )
    (name,) = found
    assert found[name] == ("Large", f"*N{why[1:]}*".encode())
    assert f"[WARNING] too_large[0]: {why}\n" in capfd.readouterr().err


def test_a_call_shows_a_hundred_values(shown):
    _, found, told = shown(showing, how="too_many")
    assert len(found) == 100
    assert told == [
        "not shown: the call has shown 100 values, as many as it may; others are left out"
    ]


def test_a_run_has_its_bounds_too(shown, monkeypatch):
    monkeypatch.setattr(recorder, "MOST_OF_RUN", 3)
    _, found, told = shown(showing, how="too_many")
    assert [content for _, content in found.values()] == [b"0", b"1", b"2"]
    assert "the run has shown as much as it may, 3 values of 0 MB" in told[0]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_of_a_step_is_refused(shown):
    result, found, _ = shown(showing, how="in_child")
    assert (result, found) == ([3], {})


def test_secrets_are_masked(shown):
    _, found, _ = shown(hiding, token=Secret("swordfish"))
    title, text = found["leaking.0.1.0"]
    assert (title, text) == ("about ***", b"it is ***")
    assert json.loads(found["leaking.0.1.1"][1])["rows"] == [["***"]]
