"""Code that changes while a server runs it: amid an import, in a helper, half written, gone."""

from __future__ import annotations

import pytest
from serving import until

ONE = """
from lokki import flow, step

@step
def give(value):
    LAZY
    return RESULT

@flow
def birds(value: int = 1):
    return give(value)
"""
SLOW = """
import os, time
import helper
Path(f"importing {os.getpid()}").touch()
while not OPEN.exists():
    time.sleep(0.01)
"""
WAITING = """
import time
from lokki import flow, step

@step
def waits():
    while not OPEN.exists():
        time.sleep(0.01)
    return "waited"

@flow
def waiting():
    return waits()
"""


def one(result="value", lazy="pass"):
    return ONE.replace("RESULT", result).replace("LAZY", lazy)


def result(server, run_id):
    run = server.ended(run_id)
    assert run["status"] == "succeeded", run["error"]
    return server.get(f"/runs/{run_id}/result")["result"]


def importing(place, pid):
    return (place.folder / f"importing {pid}").exists()


# ---- when it is noticed --------------------------------------------------------------------------


def test_an_edit_while_a_runner_imports_is_noticed(place):
    place.write("helper.py", "VALUE = 'old'")
    place.write("birds.py", SLOW + one("helper.VALUE"))
    place.open()
    server = place.serve("birds.py")
    place.shut()
    first = server.start("birds")
    (runner,) = server.runners()
    until(lambda: importing(place, runner), "the runner's import")
    place.write("helper.py", "VALUE = 'brand new'")
    place.open()
    assert result(server, first) == "brand new", "it has begun after the edit"
    assert result(server, server.start("birds")) == "brand new"


def test_an_edit_while_a_file_is_looked_into_is_noticed(place):
    sizes = "import enum\nclass Size(enum.Enum):\n    BIG = 'big'\n"
    flow = one().replace("value: int = 1", "value: helper.Size")
    place.write("helper.py", sizes)
    place.write("birds.py", SLOW + flow)
    server = place.begin("birds.py")
    until(lambda: any(importing(place, pid) for pid in server.children()), "its import")
    place.write("helper.py", sizes + "    SMALL = 'small'\n")
    place.open()
    server.ready()
    until(lambda: values(server) == ["big", "small"], "the new parameters")


def values(server):
    return server.get("/flows/birds")["parameters"]["properties"]["value"].get("enum")


def test_a_helper_may_change_what_parameters_there_are(place):
    sizes = "import enum\nclass Size(enum.Enum):\n    BIG = 'big'\n"
    place.write("helper.py", sizes)
    place.write("birds.py", "import helper" + one().replace("value: int = 1", "value: helper.Size"))
    server = place.serve("birds.py")
    server.problem("/flows/birds/runs", 422, {"params": {"value": "small"}})
    place.write("helper.py", sizes + "    SMALL = 'small'\n")
    until(lambda: values(server) == ["big", "small"], "the new parameters")
    assert server.ran("birds", value="small")["status"] == "succeeded"


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_what_a_step_imports_may_change(place, executor):
    place.write("lazy.py", "VALUE = 'old'")
    flow = one("lazy.VALUE", lazy="import lazy").replace("@step", f"@step(executor={executor!r})")
    place.write("birds.py", flow)
    server = place.serve("birds.py")
    assert result(server, server.start("birds")) == "old"
    place.write("lazy.py", "VALUE = 'brand new'")
    assert result(server, server.start("birds")) == "brand new"


def test_a_run_that_is_under_way_keeps_its_code(place):
    place.write("waiting.py", WAITING)
    server = place.serve("waiting.py")
    first = server.start("waiting")
    server.until_status(first, "running")
    place.write(
        "waiting.py", WAITING.replace("while not", "while False and not").replace("waited", "new")
    )
    assert result(server, server.start("waiting")) == "new"
    assert server.get(f"/runs/{first}")["status"] == "running"
    place.open()
    assert result(server, first) == "waited"


@pytest.mark.parametrize("named", ["birds.py", "birds"])
def test_a_file_that_is_named_may_go_and_come_back(place, named):
    file = place.write("birds.py", one("'old'"))
    server = place.serve(named)
    assert result(server, server.start("birds")) == "old"
    file.unlink()
    until(lambda: server.get("/flows")["problems"], "the file that is gone")
    place.write("birds.py", one("'brand new'"))
    until(lambda: not server.get("/flows")["problems"], "the file that is back")
    assert result(server, server.start("birds")) == "brand new"


# ---- what cannot be imported for a while ---------------------------------------------------------


def unlink(place):
    (place.folder / "birds.py").unlink()


def cut_in_two(place):
    place.write("birds.py", "from lokki import flow, step\n\n@step\ndef give(val")


def break_helper(place):
    place.write("helper.py", "VALUE = [")


def remove_helper(place):
    (place.folder / "helper.py").unlink()


@pytest.mark.parametrize("damage", [unlink, cut_in_two, break_helper, remove_helper])
def test_runs_wait_for_a_file_that_is_being_written(place, damage):
    place.write("helper.py", "VALUE = 'old'")
    place.write("birds.py", "import helper" + one("helper.VALUE"))
    place.write("waiting.py", WAITING)
    server = place.serve("birds.py", "waiting.py", LOKKI_SERVER_MAX_RUNS="1")
    first = server.start("waiting")
    server.until_status(first, "running")
    runs = [server.start("birds") for _ in range(3)]
    damage(place)
    place.open()
    assert result(server, first) == "waited"
    until(lambda: server.get("/flows")["problems"], "the damage")
    assert result(server, server.start("waiting")) == "waited", "others need not wait"
    assert {server.get(f"/runs/{run}")["status"] for run in runs} == {"queued"}
    place.write("helper.py", "VALUE = 'brand new'")
    place.write("birds.py", "import helper" + one("helper.VALUE"))
    assert [result(server, run) for run in runs] == ["brand new"] * 3


def test_runs_fail_in_the_end_if_their_file_cannot_be_imported(place):
    place.write("birds.py", one())
    place.write("waiting.py", WAITING)
    server = place.serve(
        "birds.py", "waiting.py", LOKKI_SERVER_MAX_RUNS="1", LOKKI_SERVER_IMPORT_PATIENCE="2"
    )
    first = server.start("waiting")
    server.until_status(first, "running")
    runs = [server.start("birds") for _ in range(3)]
    cut_in_two(place)
    place.open()
    for run in map(server.ended, runs):
        assert run["status"] == "failed"
        assert "cannot be imported" in run["error"]["message"]
        assert "SyntaxError" in run["error"]["traceback"]
    place.write("birds.py", one("'mended'"))
    until(lambda: not server.get("/flows")["problems"], "the mended file")
    answer = server.client.post(f"/runs/{runs[0]}/resume", json={})
    assert answer.status_code == 202, answer.text
    assert result(server, runs[0]) == "mended"


# ---- flows that are run by an import -------------------------------------------------------------


@pytest.mark.parametrize("run", ["birds.run_sync()", "asyncio.run(birds.run())", "main(birds)"])
def test_a_file_that_runs_a_flow_when_it_is_imported_is_refused(place, run):
    place.write("birds.py", f"import asyncio\nfrom lokki import main\n{one()}\n{run}\n")
    server = place.serve("birds.py")
    (problem,) = server.get("/flows")["problems"]
    assert "birds.py runs a flow on import; guard its main code" in problem["error"]
    assert run in problem["traceback"]
    assert server.get("/runs")["runs"] == []
    place.write("birds.py", one())
    until(lambda: not server.get("/flows")["problems"], "the mended file")
    guarded = f'import asyncio\n{one()}\nif __name__ == "__main__":\n    {run}\n'
    place.write("birds.py", guarded)
    assert server.ran("birds")["status"] == "succeeded"


def test_a_run_whose_flow_is_gone_is_resumed_once_it_is_back(place):
    both = one() + "\n@flow\ndef bees(): return give(2)\n"
    place.write("birds.py", both)
    server = place.serve("birds.py")
    run = server.ran("bees")["id"]
    place.write("birds.py", one())
    told = server.problem(f"/runs/{run}/resume", 404, {"from": "give"})
    assert "birds.py has no flow 'bees'" in told["detail"]
    place.write("birds.py", both)
    answer = server.client.post(f"/runs/{run}/resume", json={"from": "give"})
    assert answer.status_code == 202, answer.text
    assert result(server, run) == 2


def test_a_flow_whose_file_is_broken_is_not_reported_as_unknown(place):
    file = place.write("birds.py", one())
    server = place.serve("birds.py")
    file.write_text("def half(")
    until(lambda: server.get("/flows")["problems"], "the error of the file")
    told = server.problem("/flows/birds/runs", 409, {"params": {}})
    assert "birds.py cannot be imported" in told["detail"]
    told = server.problem("/flows/bees/runs", 404, {"params": {}})
    assert "known flows: none; others may be in" in told["detail"]
    assert "birds.py cannot be imported" in told["detail"]
