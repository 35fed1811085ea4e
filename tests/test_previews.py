"""Previews: the first rows of DataFrames that steps return, shown without their library."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import lokki
from lokki import Secret, flow, step
from lokki.backends.local import opened


class Odd(pd.DataFrame):
    """Cannot be read in parts."""

    @property
    def iloc(self):
        raise ValueError("nothing to see")


@step
def numbers():
    return [7, 8]


@step
def in_thread(number):
    lokki.show("about it")
    return pd.DataFrame({"row": range(100 * number), "text": 300 * "x"})


@step(executor="process")
def in_process(number):
    return pl.DataFrame({"a": [number]})


@step
async def in_task(number):
    return pa.table({"a": [number]})


@step
def odd(number):
    return Odd({"a": [number]})


@step(retry={"retries": 1, "delay": 0})
def checked(frame):
    if lokki.current().attempt == 1:
        raise ValueError("not yet")
    return frame[["row"]]


@step
def with_token(items, token: Secret[str]):
    return pd.DataFrame({"token": [f"at {token.value}"]})


@flow
def framed(how: str):
    return numbers().map(globals()[how])


@flow
def checking():
    return numbers().map(in_thread).next(checked)


@flow
def hiding(token: Secret[str]):
    return numbers().next(with_token)


@pytest.fixture
def previewed(journal: Path):
    """Runs a flow; the output of an item of its last stage, as it is shown."""

    def run(each, index=0, **params):
        each.run_sync(**params)
        with opened() as backend:
            last = backend.run(backend.find("last").id)
            return backend.item(last.id, last.stages[-1].position, index).output

    return run


def test_the_first_rows_are_shown_with_type_and_size(previewed):
    found = previewed(framed, 1, how="in_thread")
    assert found["type"] == "pandas.DataFrame"
    assert found["preview"]["columns"] == ["row", "text"]
    assert found["preview"]["rows"] == [[row, f"{200 * 'x'}…"] for row in range(20)]
    assert (found["preview"]["total"], found["preview"]["cut"]) == (
        800,
        "the first 20 of 800 rows",
    )


@pytest.mark.parametrize("how", ["in_process", "in_task"])
def test_it_is_recorded_from_wherever_a_step_runs(previewed, how):
    preview = previewed(framed, 1, how=how)["preview"]
    assert preview == {"columns": ["a"], "rows": [[8]], "total": 1, "cut": ""}


def test_it_is_of_the_last_inner_step_and_not_among_what_is_shown(previewed):
    assert previewed(checking)["preview"]["columns"] == ["row"]
    assert [each.title for each in lokki.open_run().shown] == [None, None]


def test_secrets_are_masked(previewed):
    assert previewed(hiding, token=Secret("swordfish"))["preview"]["rows"] == [["at ***"]]


def test_a_frame_that_cannot_be_read_has_none(previewed):
    assert "preview" not in previewed(framed, how="odd")


def test_they_can_be_switched_off(previewed, monkeypatch):
    monkeypatch.setenv("LOKKI_LOCAL_PREVIEWS", "false")
    assert "preview" not in previewed(framed, how="in_thread")
