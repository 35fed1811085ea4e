"""``lokki show RUN --item N``: what one item got, gave, raised and printed."""

from __future__ import annotations

import json

import pytest

FLOW = """
from lokki import flow, step

@step
def stations(count: int):
    return [{"id": f"s{number}", "height": number} for number in range(count)]

@step
def read(station):
    print("reading", station["id"])
    if station["height"] == 3:
        raise ValueError(f"{station['id']} is frozen")
    return station["height"] * 2.5

@step
def summary(values):
    return len(values)

@flow
def weather(count: int = 5):
    return stations().map(read, tolerated_failures=2).agg(summary)
"""


@pytest.fixture
def shown(done, terminal):
    """Runs the flow, then shows of the run what is asked for."""
    (terminal / "weather.py").write_text(FLOW)
    assert done("run", "weather.py")[0] == 0

    def asked(*arguments):
        return done("show", *arguments)

    return asked


def test_an_item_that_succeeded(shown):
    code, out, err = shown("last", "--item", 2)
    assert (code, err) == (0, "")
    head, *rest = out.splitlines()
    assert head.startswith("item 2 of read  succeeded, 1 attempt, ")
    text = "\n".join(rest)
    assert text.startswith(
        'input\n  {\n    "id": "s2",\n    "height": 2\n  }\noutput\n  5.0\nlines\n'
    )
    assert text.endswith("[INFO] reading s2")


def test_an_item_that_failed(shown):
    code, out, _ = shown("--item", 3)  # of the last run
    assert code == 0
    assert "item 3 of read  tolerated, 1 attempt" in out
    assert '"id": "s3"' in out
    assert "attempt 1 of read\n  Traceback (most recent call last):\n" in out
    assert 'weather.py", line 12, in read\n' in out
    assert "  ValueError: s3 is frozen\n" in out
    assert "\noutput\n" not in out


def test_the_attempts_before_a_resume_count(shown, done, terminal):
    (terminal / "weather.py").write_text(FLOW.replace("== 3", "== 99"))
    assert done("resume", "last", "--failed")[0] == 0
    out = shown("last", "--item", 3)[1]
    assert "item 3 of read  succeeded, 2 attempts, the last took " in out
    assert "attempt 1 of read" in out


def test_an_item_as_json(shown):
    code, out, _ = shown("last", "--item", 3, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["index"], found["step"], found["status"]) == (3, "read", "tolerated")
    assert found["input"] == {"json": {"id": "s3", "height": 3}}
    assert found["failures"][0]["message"] == "s3 is frozen"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--item", 5], 1, "item 5 of 'read' in run {} does not exist: its items are 0 to 4"),
        (["--item", 0, "--stage", "x"], 1, "run {} has no stage 'x'; give --stage read"),
        (
            ["--item", 0, "--stage", "summary"],
            1,
            "'summary' of run {} is not a map, so it has no items; give --stage read",
        ),
        (["--stage", "read"], 2, "--stage says whose item: give --item, too"),
        (["--item", 0, "--watch"], 2, "--watch draws a run: leave --item out"),
    ],
)
def test_what_cannot_be_shown_is_told(shown, done, arguments, code, told):
    run = json.loads(done("runs", "--json")[1])["runs"][0]["id"]
    found, _, err = shown(*arguments)
    assert (found, err.strip().splitlines()[-1]) == (code, f"Error: {told.format(run)}")


def test_values_that_json_cannot_hold_and_long_ones(done, terminal):
    (terminal / "things.py").write_text(
        """
from pathlib import Path
from lokki import flow, step

@step
def sources():
    return [Path("/data"), "y" * 3000]

@step
def copied(source):
    return [source, source]

@flow
def copying():
    return sources().map(copied)
"""
    )
    assert done("run", "things.py")[0] == 0
    code, out, _ = done("show", "--item", 0)
    assert code == 0
    assert "input\n  pathlib.PosixPath\n" in out or "input\n  pathlib.Path\n" in out
    code, out, _ = done("show", "--item", 1)
    assert "(6,0" in out
    assert "letters: see --json)" in out


def test_an_input_is_shown_whatever_else_its_list_has(done, terminal):
    (terminal / "many.py").write_text(
        """
from fractions import Fraction
from lokki import flow, step

@step
def sources():
    return [Fraction(1, 3), "z" * 2_000_000, {"id": 2}, {Fraction(1, 3): "third"}]

@step
def looked_at(source):
    return None

@flow
def many():
    return sources().map(looked_at)
"""
    )
    assert done("run", "many.py")[0] == 0
    inputs = [json.loads(done("show", "--item", each, "--json")[1])["input"] for each in range(4)]
    assert inputs == [
        {"type": "fractions.Fraction"},
        {"type": "a large value", "bytes": 2_000_002},
        {"json": {"id": 2}},
        {"type": "fractions.Fraction"},
    ]


def test_the_first_rows_of_a_data_frame(done, terminal):
    (terminal / "frames.py").write_text(
        "import polars as pl\nfrom lokki import flow, step\n\n"
        "@step\ndef sites():\n    return ['marsh']\n\n"
        "@step\ndef counted(site):\n"
        "    return pl.DataFrame({'site': site, 'birds': range(25), 'share': 2 / 3})\n\n"
        "@flow\ndef frames():\n    return sites().map(counted)\n\n"
        "@flow\ndef one():\n    return counted('lake')\n"
    )
    assert done("run", "frames.py:frames")[0] == 0
    code, out, err = done("show", "--item", 0)
    assert (code, err) == (0, "")
    kind, head, first, *others, cut = out.partition("output\n")[2].splitlines()
    assert kind.startswith("  polars.dataframe.frame.DataFrame, ")
    assert (head.split(), first.split(), len(others)) == (
        ["site", "birds", "share"],
        ["marsh", "0", "0.666667"],
        19,
    )
    assert cut.strip() == "the first 20 of 25 rows"

    assert done("run", "frames.py:one")[0] == 0
    code, out, err = done("result", "last")
    assert (code, out) == (1, "")
    assert err.splitlines()[1].split() == ["lake", "0", "0.666667"]
    assert "is not JSON (polars.dataframe.frame.DataFrame, " in err
