"""``lokki diff``: two runs side by side."""

from __future__ import annotations

import json

import pytest

from lokki import __version__

FLOWS = """
from lokki import flow, step

@step
def numbers(count):
    return list(range(count))

@step
def half(number):
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2

@step
def total(found, factor):
    return sum(found) * factor

@flow
def halved(count: int = 4, factor: int = 1, note: str = "n"):
    return numbers(count).map(half, tolerated_failures=0.9).agg(total)

class Own: pass

@step
def own():
    return Own()

@flow
def owned():
    return own()
"""


@pytest.fixture
def ran(done, terminal, monkeypatch):
    """Runs a flow with some options; the id of the run."""
    (terminal / "flows.py").write_text(FLOWS)
    monkeypatch.setenv("COLUMNS", "120")

    def ran(flow, *options):
        assert done("run", f"flows.py:{flow}", *options)[0] == 0
        return json.loads(done("runs", "-n", "1", "--json")[1])["runs"][0]["id"]

    return ran


def test_what_differs_is_shown_and_what_is_the_same_is_named(done, ran):
    first, second = ran("halved"), ran("halved", "--count", "8", "--tag", "big")
    code, out, err = done("diff", first, second)
    assert (code, err) == (0, "")
    rows = {row[:26].strip(): row[26:].split("  ") for row in out.splitlines()}
    values = {name: [each.strip() for each in row if each.strip()] for name, row in rows.items()}
    assert values[""] == [first, second]
    assert values["status"] == ["succeeded", "succeeded"]
    assert values["tags"] == ["[]", '["big"]']
    assert values["count"] == ["4", "8"]
    assert values["result"] == ["1", "6"]
    assert "4 of 4, 2 tolerated" in out
    assert "8 of 8, 4 tolerated" in out
    assert "ValueError: N is odd" in out
    assert out.endswith("the same in 2 parameters: factor, note\n")
    found = json.loads(done("diff", first, second, "--json")[1])
    assert [(each["first"], each["second"]) for each in found["failures"]] == [(2, 4)]
    assert found["first"]["lokki_version"] == __version__
    assert "failures" in found["second"]["stages"][0]


def test_a_change_of_the_code_is_shown(done, ran, terminal):
    first = ran("halved")
    flows = terminal / "flows.py"
    flows.write_text("# a comment\n" + flows.read_text())
    same = done("run", "flows.py:halved")[0]
    assert (same, "code" in done("diff", first, "last")[1]) == (0, False)
    flows.write_text(flows.read_text().replace("odd", "not even"))
    assert done("run", "flows.py:halved")[0] == 0
    (code,) = (line for line in done("diff", first, "last")[1].splitlines() if "code" in line)
    assert len(set(code.split())) == 3


def test_runs_may_have_nothing_in_common(done, ran):
    first, second = ran("halved"), ran("owned")
    found = json.loads(done("diff", first, "last", "--json")[1])
    assert [(each["name"], each["second"]) for each in found["params"]] == [
        ("count", None), ("factor", None), ("note", None),
    ]  # fmt: skip
    assert [each["name"] for each in found["stages"] if each["first"] is None] == ["own"]
    assert found["results"]["second"]["type"].endswith("Own")
    assert found["same_result"] is None
    assert done("diff", first, second)[0] == 0


def test_results_that_json_cannot_hold_are_not_compared(done, ran):
    ran("owned")
    out = done("diff", "last", "last")[1]
    assert "results are not compared: flows.Own, " in out
    assert "result" not in {line[:26].strip() for line in out.splitlines()}


def test_the_same_run_twice_differs_in_nothing(done, ran):
    run = ran("halved")
    out = done("diff", run, "last")[1]
    assert "the same result" in out
    assert not {"parameters", "result"} & {line.strip() for line in out.splitlines()}


@pytest.mark.parametrize(
    ("words", "told"), [(("diff", "last"), "Missing argument"), (("diff", "last", "x"), "no run")]
)
def test_what_is_wrong_is_reported(done, ran, words, told):
    ran("halved")
    code, _, err = done(*words)
    assert code != 0
    assert told in err
