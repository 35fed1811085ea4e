"""Tags of runs on the command line."""

from __future__ import annotations

import json

import pytest

FLOWS = """
from lokki import flow, step

@step
def length(text):
    return len(text)

@flow(tags=["etl"])
def tagged(text: str = "ab"):
    return length(text)

@flow
def releasing(tag: str):
    return length(tag)
"""


@pytest.fixture
def shown(done, terminal):
    """The newest run, as JSON."""
    (terminal / "flows.py").write_text(FLOWS)
    return lambda: json.loads(done("show", "last", "--json")[1])


def test_a_run_has_the_tags_of_its_flow_and_its_own(done, shown):
    words = ("run", "flows.py:tagged", "--tag", "nightly", "--tag", "team=data", "--tag", "etl")
    assert done(*words)[:2] == (0, "2\n")
    assert shown()["tags"] == ["etl", "nightly", "team=data"]
    assert "tags     etl, nightly, team=data\n" in done("show", "last")[1]
    assert done("rerun", "last", "--tag", "again", "--text", "abc")[:2] == (0, "3\n")
    assert shown()["tags"] == ["etl", "again"], "those of the earlier run stay its own"
    first, *rows = done("runs")[1].splitlines()
    assert first.split()[-1] == "tags"
    assert [row[row.index("etl") :] for row in rows] == ["etl, again", "etl, nightly, team=data"]


def test_runs_are_found_by_tag_parameter_and_text(done, shown):
    def found(*words):
        runs = json.loads(done("runs", *words, "--json")[1])["runs"]
        return [run["params"]["text"] for run in runs]

    for text, *words in (("abc",), ("de", "--tag", "nightly"), ("f", "--tag", "nightly")):
        done("run", "flows.py:tagged", "--text", text, *words)
    assert found() == ["f", "de", "abc"]
    assert found("--tag", "nightly", "--tag", "etl") == ["f", "de"]
    assert found("--param", "text=de") == ["de"]
    assert found("--search", "NIGHTLY", "-n", "1") == ["f"]
    assert done("runs", "--search", "nowhere")[1].startswith("no such runs in ")
    code, _, told = done("runs", "--param", "text")
    assert (code, "'text' is not like limit=5" in told) == (2, True)


def test_a_flows_own_parameter_of_this_name_stays_an_option(done, shown):
    assert done("run", "flows.py:releasing", "--tag", "v10")[:2] == (0, "3\n")
    assert shown()["params"] == {"tag": "v10"}
    assert shown()["tags"] == []


def test_what_is_no_tag_is_refused(done, shown):
    code, _, told = done("run", "flows.py:tagged", "--tag", "two words")
    assert code == 2
    assert "'two words' is not a tag: write at most 60 ASCII letters, digits and" in told
