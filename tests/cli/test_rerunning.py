"""``lokki rerun``: a new run with the parameters of another one, but for those that are given."""

from __future__ import annotations

import json

import pytest
from serving import Place

FLOWS = """
import dataclasses
import datetime
import enum
from pathlib import Path
from lokki import Secret, flow, main, step

class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

@dataclasses.dataclass
class Box:
    width: int

@step
def told(**params):
    secret = params.pop("password", None)
    return repr(params) + (f" {len(secret.value)}" if secret else "")

@flow
def shown(
    count: int,
    colour: Colour = Colour.RED,
    day: datetime.date | None = None,
    dry: bool = False,
    names: list[str] = ["a"],
    note: str = "n",
    box: Box = Box(1),
    password: Secret[str] = Secret("none"),
):
    "Shows what it is given."
    return told()

@step
def read(file):
    return Path(file).read_text()

@flow
def reading(file: str):
    return read(file)

if __name__ == "__main__":
    main(shown)
"""
AS_BEFORE = "'day': datetime.date(2026, 2, 3)"


@pytest.fixture
def place(terminal, monkeypatch):
    made = Place(terminal)
    made.write("flows.py", FLOWS)
    monkeypatch.setenv("LOKKI_SECRET_PASSWORD", "sesame")
    return made


@pytest.fixture(params=["here", "there"])
def on(request, place):
    """What says where runs are: nothing, or the URL of a server."""
    return () if request.param == "here" else request.getfixturevalue("elsewhere")


@pytest.fixture
def first(done, on):
    """The id of a run with some parameters."""
    given = ["--count", 3, "--day", "2026-02-03", "--names", '["b", "c"]', "--note", "5"]
    given += ["--box", '{"width": 7}']
    code, out, _ = done("run", "flows.py:shown", *given, *on)
    assert (code, out) == (0, _shown(3))
    return newest(done, on)["id"]


def _shown(count, colour="RED: 'red'", dry=False, note="5"):
    return (
        f"{{'count': {count}, 'colour': <Colour.{colour}>, {AS_BEFORE}, 'dry': {dry}, "
        f"'names': ['b', 'c'], 'note': '{note}', 'box': Box(width=7)}} 6\n"
    )


def newest(done, on):
    return json.loads(done("show", "last", "--json", *on)[1])


def test_a_run_is_run_again_with_what_is_given_changed(done, on, first):
    code, out, err = done("rerun", "last", "--count", 5, "--colour", "blue", "--dry", *on)
    assert (code, out) == (0, _shown(5, "BLUE: 'blue'", dry=True)), err
    again = newest(done, on)
    assert again["id"] != first
    assert again["params"]["count"] == 5
    assert again["params"]["password"] == "***"
    code, out, err = done("rerun", first, *on)
    assert (code, out) == (0, _shown(3)), err
    code, out, err = done("flows.py", "rerun", first[:-1], "--note", "null", *on)
    assert (code, out) == (0, _shown(3, note="null")), err


def test_the_help_tells_the_values_that_stand(done, on, first):
    code, out, _ = done("rerun", "last", *on, "--help")
    assert code == 0
    assert f"Run shown again as in {first}" in " ".join(out.split())
    assert "--count INT                     [default: 3]" in out
    assert "--day YYYY-MM-DD                [default: 2026-02-03]" in out
    assert "--dry / --no-dry                [default: --no-dry]" in out
    assert '--names JSON LIST               [default: \'["b", "c"]\']' in out
    assert "--log-level" in out
    code, out, _ = done("rerun", "--help")
    assert code == 0
    assert "rerun RUN --help" in " ".join(out.split())


def test_parameters_come_from_a_file_too(done, on, first, terminal):
    (terminal / "params.json").write_text('{"count": 8, "note": "file"}')
    code, out, err = done("rerun", first, "--params", "params.json", "--note", "option", *on)
    assert (code, out) == (0, _shown(8, note="option")), err


def test_what_is_wrong_is_reported(done, on, first):
    for words, code, told in (
        (["last", "--count", "x"], 2, "parameter 'count' must be a whole number, not 'x'"),
        (["last", "--cuont", "1"], 2, "No such option '--cuont'"),
        (["last", "--password", "x"], 2, "--password"),
        (["nosuch"], 1, "nosuch"),
        (["--count", "5", "last"], 2, "the run comes first: lokki rerun RUN --count"),
        ([], 2, "Missing argument 'RUN'"),
    ):
        found, out, err = done("rerun", *words, *on)
        assert (words, found, out) == (words, code, "")
        assert told in err
    assert newest(done, on)["id"] == first


def test_it_runs_in_the_folder_of_the_run(done, place, monkeypatch):
    (place.folder / "words.txt").write_text("before")
    (place.folder / "others.txt").write_text("after")
    assert done("run", "flows.py:reading", "--file", "words.txt")[:2] == (0, "before\n")
    (place.folder / "elsewhere").mkdir()
    monkeypatch.chdir(place.folder / "elsewhere")
    code, out, err = done("rerun", "last", "--file", "others.txt")
    assert (code, out) == (0, "after\n")
    assert f"in {place.folder}, where the run was started" in err


def test_the_file_is_named_where_it_has_moved(done, place):
    assert done("run", "flows.py:shown", "--count", 1)[0] == 0
    (place.folder / "flows.py").rename(place.folder / "moved.py")
    run = newest(done, ())["id"]
    code, _, err = done("rerun", "last", "--count", 2)
    assert code == 2
    assert f"is gone; name the file of its flow: lokki rerun {run} FILE" in err
    code, out, err = done("rerun", "last", "moved.py:shown", "--count", 2)
    assert code == 0, err
    assert out.startswith("{'count': 2")
    code, _, err = done("rerun", "last", "moved.py:reading")
    assert code == 2
    assert "belongs to flow 'shown', not 'reading'" in err


def test_a_parameter_that_the_flow_has_no_more_is_reported(done, place):
    assert done("run", "flows.py:reading", "--file", "flows.py")[0] == 0
    before, after = (
        "reading(file: str):\n    return read(file)",
        "reading(path):\n    return read(path)",
    )
    place.write("flows.py", FLOWS.replace(before, after))
    code, _, err = done("rerun", "last", "--path", "flows.py")
    assert code == 2
    assert "unknown parameter 'file'; it takes path" in err


def test_a_server_has_the_code(done, place, on, first):
    if on:
        code, _, err = done("rerun", "last", "flows.py", *on)
        assert code == 2
        assert "leave 'flows.py' out: the flow's code is where it runs" in err
