"""Which flows are offered, and what is told of files that offer none."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving import until

ONE = """
from lokki import flow, step

@step
def give(value):
    return value

@flow
def NAME(value: int = 1):
    "DOC"
    return give(VALUE)
"""


def one(name, value="value", doc="Gives a value."):
    return ONE.replace("NAME", name).replace("VALUE", value).replace("DOC", doc)


def names(server):
    return [flow["name"] for flow in server.get("/flows")["flows"]]


# ---- where they are ------------------------------------------------------------------------------


def test_flows_of_a_file_a_module_and_a_folder(place):
    place.write("birds.py", one("birds"))
    place.write("package/__init__.py", "")
    place.write("package/fish.py", one("fish"))
    place.write("folder/cats.py", one("cats"))
    place.write("folder/dogs.py", one("dogs"))
    place.write("folder/none.py", "raise ValueError('this is no file of flows')")
    place.write("other/unseen.py", one("unseen"))
    server = place.serve("birds.py", "package.fish", "folder")
    assert names(server) == ["birds", "cats", "dogs", "fish"]
    assert server.get("/flows")["problems"] == []
    assert server.get("/flows/birds")["file"] == str(place.folder / "birds.py")
    for name in names(server):
        assert server.ran(name)["status"] == "succeeded"


def test_without_a_name_those_of_this_folder(place):
    place.write("birds.py", one("birds"))
    place.write("other.py", "print('imported')")
    server = place.serve()
    assert names(server) == ["birds"]
    assert "imported" not in server.told


def test_the_configuration_names_them(place):
    place.write("birds.py", one("birds"))
    place.write("cats/cats.py", one("cats"))
    place.write("dogs.py", one("dogs"))
    assert names(place.serve(LOKKI_SERVER_FLOWS="birds.py, cats")) == ["birds", "cats"]


def test_a_flow_that_ends_its_process_takes_no_answer_from_questions_asked_with_it(place):
    value = "__import__('os')._exit(3) if value == 3 else value"
    place.write("birds.py", one("birds", value=value))
    server = place.serve("birds.py")

    def post(value):
        return server.client.post("/flows/birds/runs", json={"params": {"value": value}})

    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(post, [0, 1, 2, 3, 4, 5, 3, 6])]
    assert [each.status_code for each in answers] == [202, 202, 202, 409, 202, 202, 409, 202]
    assert "ended the process that it ran in" in answers[3].json()["detail"]


def test_files_that_cannot_be_imported_are_reported_and_stop_no_other(place):
    place.write("a_raises.py", "import lokki\nraise ValueError('not today')")
    place.write("b_exits.py", "import sys, lokki\nsys.exit(3)")
    place.write("c_dies.py", "import os, lokki\nos._exit(3)")
    place.write("d_hangs.py", "import threading, lokki\nthreading.Event().wait()")
    place.write("e_wrong.py", "import lokki\ndef x(:")
    waits = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)\n"
    place.write("f_slow.py", waits + one("slow"))
    place.write("good.py", one("good"))
    files = ["a_raises.py", "b_exits.py", "c_dies.py", "d_hangs.py", "e_wrong.py", "f_slow.py"]
    server = place.serve(*files, "nosuch.py", "good.py")
    assert names(server) == ["good"]
    told = {os.path.basename(each["file"]): each for each in server.get("/flows")["problems"]}
    assert sorted(told) == [*files, "nosuch.py"]
    assert "cannot be imported" in told["a_raises.py"]["error"]
    assert "not today" in told["a_raises.py"]["traceback"]
    assert str(place.folder / "a_raises.py") in told["a_raises.py"]["traceback"]
    assert "exits on import" in told["b_exits.py"]["error"]
    assert "ended the process" in told["c_dies.py"]["error"]
    assert "has not ended yet" in told["d_hangs.py"]["error"]
    assert "SyntaxError" in told["e_wrong.py"]["traceback"]
    assert "there is no file" in told["nosuch.py"]["error"]
    assert server.ran("good")["status"] == "succeeded"
    assert "f_slow.py: its import has ended\n" not in server.told
    place.write("go", "")
    until(lambda: "f_slow.py: its import has ended\n" in server.told, "the end of the import")
    assert names(server) == ["good", "slow"]
    place.write("a_raises.py", one("mended"))
    place.write("d_hangs.py", one("awake"))
    until(
        lambda: names(server) == ["awake", "good", "mended", "slow"], "the files that were mended"
    )
    assert server.ran("awake")["status"] == "succeeded"
    assert server.stop() == 0


def test_nothing_is_left_to_the_garbage_collector(place):
    place.write("flows.py")
    server = place.serve("flows.py", PYTHONWARNINGS="default::ResourceWarning")
    server.until_status(server.start("summed"), "succeeded")
    assert server.stop() == 0
    assert "ResourceWarning" not in server.told


def test_a_server_stops_although_an_import_hangs(place):
    place.write("hangs.py", "import threading, lokki\nthreading.Event().wait()")
    server = place.serve("hangs.py")
    assert server.stop(20) == 0
    assert "Traceback" not in server.told


def test_of_two_flows_of_one_name_the_first_is_offered(place):
    place.write("a.py", one("same", "1"))
    place.write("b.py", one("same", "2") + one("other").partition("@flow")[2].join(["@flow", ""]))
    server = place.serve("a.py", "b.py")
    assert names(server) == ["other", "same"]
    assert server.get("/flows/same")["file"] == str(place.folder / "a.py")
    (problem,) = server.get("/flows")["problems"]
    assert problem["file"] == str(place.folder / "b.py")
    assert "also has a flow 'same': rename one" in problem["error"]
    run = server.ran("same")
    assert server.get(f"/runs/{run['id']}/result")["result"] == 1


# ---- changes -------------------------------------------------------------------------------------


def result(server, name):
    run = server.ran(name)
    assert run["status"] == "succeeded", run["error"]
    return server.get(f"/runs/{run['id']}/result")["result"]


def test_new_runs_have_the_code_that_is_there_now(place):
    place.write("birds.py", one("birds", "'old'"))
    server = place.serve("birds.py")
    assert result(server, "birds") == "old"
    place.write("birds.py", one("birds", "'brand new'"))
    assert result(server, "birds") == "brand new", "it need not be noticed first"
    place.write("birds.py", one("birds", "'brand new'", "Other words."))
    until(lambda: server.get("/flows/birds")["doc"] == "Other words.", "the new description")


def test_helpers_may_change_too(place):
    place.write("helper.py", "VALUE = 'old'")
    place.write("birds.py", "import helper\n" + one("birds", "helper.VALUE"))
    server = place.serve("birds.py")
    assert result(server, "birds") == "old"
    place.write("helper.py", "VALUE = 'brand new'")
    place.write("birds.py", "import helper\n" + one("birds", "helper.VALUE", "Other words."))
    assert result(server, "birds") == "brand new"


def test_worker_processes_have_the_settings_and_the_code_that_are_there_now(place):
    flow = one("birds", "helper.told()").replace("@step", '@step(executor="process")')
    place.write("helper.py", "UNIT = 'cm'\ndef told(): return f'old {UNIT}'")
    place.write("birds.py", "import helper\nhelper.UNIT = 'mm'\n" + flow.replace("VALUE", "value"))
    server = place.serve("birds.py")
    assert result(server, "birds") == "old mm"
    place.write("helper.py", "UNIT = 'cm'\ndef told(): return f'brand new {UNIT}'")
    assert result(server, "birds") == "brand new mm"


def test_files_come_and_go(place):
    place.write("birds.py", one("birds"))
    server = place.serve()
    place.write("cats.py", one("cats"))
    until(lambda: names(server) == ["birds", "cats"], "the new file")
    (place.folder / "birds.py").unlink()
    until(lambda: names(server) == ["cats"], "the end of the file that is gone")
    server.problem("/flows/birds", 404)
    server.problem("/flows/birds/runs", 404, {})


def test_a_file_may_break_and_be_mended(place):
    place.write("birds.py", one("birds"))
    server = place.serve("birds.py")
    place.write("birds.py", "import lokki\nraise ValueError('half written')")
    assert server.client.post("/flows/birds/runs", json={}).status_code in (404, 409)
    until(lambda: server.get("/flows")["problems"], "the problem")
    place.write("birds.py", one("birds", "'mended'"))
    until(lambda: names(server) == ["birds"], "the mended file")
    assert result(server, "birds") == "mended"


def test_a_flow_that_ends_the_process_of_its_check_is_reported(place):
    place.write("birds.py", one("birds").replace("return give", "import os; os._exit(3)\n    give"))
    place.write("cats.py", one("cats"))
    server = place.serve("birds.py", "cats.py")
    until(lambda: server.get("/flows")["problems"], "what became of its file")
    assert names(server) == ["cats"]
    assert server.ran("cats")["status"] == "succeeded"


# ---- one flow ------------------------------------------------------------------------------------


def test_a_flow_is_described(server):
    flow = server.get("/flows/summed")
    assert flow["doc"] == "Doubles numbers, and adds them."
    assert flow["stages"] == [
        {"name": "numbers", "kind": "task", "steps": ["numbers"]},
        {"name": "double", "kind": "map", "steps": ["double"]},
        {"name": "add", "kind": "task", "steps": ["add"]},
    ]
    assert (flow["secrets"], flow["schedule"]) == ([], None)
    assert flow in server.get("/flows")["flows"]
    assert "summed" in server.problem("/flows/nosuch", 404)["detail"]


def test_parameters_are_a_json_schema(server):
    flow = server.get("/flows/typed")
    schema = flow["parameters"]
    assert flow["secrets"] == ["password"]
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    assert schema["required"] == ["count"]
    found = schema["properties"]
    assert list(found) == ["count", "colour", "day", "box", "at", "names", "ratio"]
    assert found["count"] == {"type": "integer"}
    assert found["colour"]["default"] == "red"
    assert found["colour"]["enum"] == ["red", "blue"]
    kinds = [{"type": "string", "format": "date"}, {"type": "null"}]
    assert found["day"] == {"anyOf": kinds, "default": None}
    assert found["at"]["format"] == "date-time"
    assert found["names"] == {"type": "array", "items": {"type": "string"}, "default": []}
    assert found["box"]["default"] == {"width": 2, "name": "box"}
    assert found["box"]["required"] == ["width"]
    assert found["ratio"] == {"type": "number", "default": 0.5}


# ---- the service itself --------------------------------------------------------------------------


def test_health(server):
    assert server.get("/healthz") == {"status": "ok"}
    parts = ("journal", "flows", "runners", "clock", "events")
    well = {name: {"ready": True, "problem": None} for name in parts}
    assert server.get("/readyz") == {"status": "ready", "ready": True, "runners": 1, "parts": well}
    assert set(server.get("/session")) == {"login_needed", "name", "version", "editor"}


def test_a_server_without_a_runner_is_not_ready(place):
    place.write("birds.py", one("birds"))
    server = place.serve("birds.py")
    (runner,) = server.runners()
    os.kill(runner, 9)
    until(lambda: server.client.get("/readyz").status_code == 503, "a server that is not ready")
    assert server.get("/healthz") == {"status": "ok"}
    until(lambda: server.client.get("/readyz").status_code == 200, "another runner")


@pytest.mark.parametrize("path", ["/", "/ui/flows", "/ui/runs/x"])
def test_the_dashboard_is_there(server, path):
    answer = server.client.get(path)
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" in answer.text


def test_a_port_that_is_taken_is_reported(place, server):
    port = str(server.client.base_url.port)
    done = subprocess.run(
        [sys.executable, "-m", "lokki", "serve", "--port", port],
        cwd=place.folder, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_journal_that_cannot_be_used_is_reported(place):
    (place.folder / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "lokki", "serve", "--port", "0"],
        cwd=place.folder, capture_output=True, text=True, timeout=50,
        env=os.environ | {"LOKKI_LOCAL_JOURNAL": str(place.folder / "file" / "lokki.db")},
    )  # fmt: skip
    assert done.returncode == 1
    assert "LOKKI_LOCAL_JOURNAL" in done.stderr
    assert "Traceback" not in done.stderr
