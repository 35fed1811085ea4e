"""``lokki show RUN --save DIR``: what steps have shown becomes files."""

from __future__ import annotations

import pytest

FLOW = """
import lokki
from lokki import flow, step

@step
def several():
    lokki.show("# Hi", "../a b/ü?")
    lokki.show([{"a": 1, "b": "x,y"}, {"a": None, "b": "z"}])
    return [1]

@step(retry={"retries": 1, "delay": 0})
def each(number):
    lokki.show("<p>Hi", "Page", kind="html")
    if lokki.current().attempt == 1:
        raise ValueError

@step
def silent():
    pass

@flow
def showing():
    return several().map(each)

@flow
def quiet():
    return silent()
"""
FILES = {
    "several-1-a-b-ü.md": "# Hi",
    "several-2.csv": 'a,b\n1,"x,y"\n,z\n',
    "each.0-1-Page.html": "<p>Hi",
    "each.0-attempt2-1-Page.html": "<p>Hi",
}


@pytest.fixture
def ran(done, terminal):
    (terminal / "flows.py").write_text(FLOW)
    assert done("run", "flows.py:showing")[0] == 0
    return terminal


def test_each_value_becomes_a_file_with_a_good_name(ran, done):
    code, out, err = done("show", "--save", "a/b")
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"a/b/{name}" for name in FILES]
    assert {path.name: path.read_text() for path in (ran / "a" / "b").iterdir()} == FILES
    assert done("show", "last", "--save", "c", "--item", 0)[0] == 0
    assert {path.name for path in (ran / "c").iterdir()} == {*FILES} - {*list(FILES)[:2]}


def test_a_run_lists_what_was_shown(ran, done):
    out = done("show", "last")[1]
    assert "\n  several  ../a b/ü?  md, 4 bytes\n" in out
    assert "\n  each[0]  Page  html, 5 bytes" in out


def test_what_cannot_be_saved_is_an_error(ran, done):
    (ran / "file").write_text("")
    code, _, err = done("show", "--save", "file/below")
    assert code == 1
    assert "file/below cannot be written" in err
    assert done("show", "--save", "a", "--json")[0] == 2
    assert done("run", "flows.py:quiet")[0] == 0
    code, _, err = done("show", "--save", "a")
    assert code == 1
    assert "has shown nothing: steps show values with lokki.show()" in err
    assert "shown by steps" not in done("show", "last")[1]
