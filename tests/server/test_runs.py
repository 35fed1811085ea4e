"""Runs over HTTP: started, listed, looked at, cancelled and resumed."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import subprocess
import sys
import threading

import pytest
from serving import until


def lokki(shared, *arguments, **options):
    """A command in a process of its own, with the server's journal."""
    journal = str(shared.folder / "journal" / "lokki.db")
    return subprocess.Popen(
        [sys.executable, "-m", "lokki", *arguments],
        cwd=shared.folder,
        env=os.environ | {"LOKKI_LOCAL_JOURNAL": journal},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# ---- start ---------------------------------------------------------------------------------------


def test_a_run_is_queued_and_runs(server):
    answer = server.client.post("/flows/summed/runs", json={"params": {"count": 5}})
    assert answer.status_code == 202
    run = answer.json()
    assert answer.headers["location"] == f"/runs/{run['id']}"
    assert (run["flow"], run["params"]) == ("summed", {"count": 5})
    assert run["status"] in ("queued", "running", "succeeded")
    assert run["chain"] == "numbers → map(double) → add"
    done = server.ended(run["id"])
    assert done["status"] == "succeeded"
    assert [(each["name"], each["kind"], each["succeeded"]) for each in done["stages"]] == [
        ("numbers", "task", 1),
        ("double", "map", 5),
        ("add", "task", 1),
    ]
    assert done["source"] == f"{server.folder / 'flows.py'}:summed"
    assert (done["started_by"], done["folder"]) == ("lokki serve", str(server.folder))
    assert (done["error"], done["owner"], done["resumes"]) == (None, None, [])
    assert done["created"] <= done["started"] <= done["finished"]


def test_parameters_may_be_left_out_and_are_of_their_types(server):
    run = server.ran("typed", count=3, colour="blue", day="2026-02-03", box={"width": 1})
    assert run["status"] == "succeeded"
    assert run["params"] == {
        "count": 3,
        "colour": "blue",
        "day": "2026-02-03",
        "box": {"width": 1, "name": "box"},
        "password": "***",
        "at": "2026-02-03T00:00:00",
        "names": [],
        "ratio": 0.5,
    }


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({}, ["count"]),
        ({"count": "many"}, ["count"]),
        ({"count": 1, "colour": "green", "day": "soon"}, ["colour", "day"]),
        ({"count": 1, "box": {"width": "wide"}}, ["box"]),
        ({"count": 1, "box": {"height": 1}}, ["box"]),
        ({"count": None}, ["count"]),
        ({"count": 1, "password": "mine"}, ["password"]),
    ],
)
def test_wrong_parameters_are_reported_by_name(server, params, names):
    told = server.problem("/flows/typed/runs", 422, {"params": params})
    assert [each["name"] for each in told["errors"]] == names
    assert all(each["message"] for each in told["errors"])


def test_an_unknown_parameter_is_reported(server):
    told = server.problem("/flows/typed/runs", 422, {"params": {"count": 1, "conut": 2}})
    assert "did you mean 'count'?" in told["detail"]
    told = server.problem("/flows/typed/runs", 422, {"params": {"a-b": 1, "count": "x"}})
    assert [each["name"] for each in told["errors"]] == ["a-b", "count"]


def test_a_secret_of_a_request_is_in_no_answer(server):
    told = server.problem("/flows/hidden/runs", 422, {"params": {"password": "mine"}})
    assert "leave it out" in told["detail"]
    assert "mine" not in str(told)


def test_a_secret_comes_from_the_servers_environment(server):
    run = server.ran("hidden")
    assert run["params"] == {"password": "***"}
    assert server.get(f"/runs/{run['id']}/result") == _result(len("sesame"))


def test_what_the_body_of_a_flow_raises_is_reported(server):
    told = server.problem("/flows/picky/runs", 422, {"params": {"count": -1}})
    assert told["errors"] == [{"name": None, "message": "RuntimeError: not below zero"}]


@pytest.mark.parametrize(
    "body", [[], {"parameters": {}}, {"params": []}, {"params": {}, "more": 1}, "x"]
)
def test_a_request_of_another_shape_is_refused(server, body):
    answer = server.client.post("/flows/summed/runs", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "text", ['{"params": {"text": "\\ud800"}}', '{"params": {"\\udfff": 1}}', "{", ""]
)
def test_text_that_is_none_is_refused(server, text):
    answer = server.client.post(
        "/flows/words/runs", content=text, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    assert server.get("/runs")


def test_parameters_without_params_are_refused_with_what_to_write(server):
    problem = server.problem("/flows/summed/runs", 422, {"count": 3})
    assert problem["detail"].endswith('belong in \'params\': write {"params": {"count": …}}')


@pytest.mark.parametrize("levels", [100, 300, 900, 5_000])
def test_values_that_are_nested_too_deeply_are_refused_and_nothing_is_queued(server, levels):
    before = [run["id"] for run in server.get("/runs")["runs"]]
    text = '{"params": {"text": ' + "[" * levels + "]" * levels + "}}"
    answer = server.client.post(
        "/flows/words/runs", content=text, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert "nested" in answer.json()["detail"]
    assert [run["id"] for run in server.get("/runs")["runs"]] == before


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/runs?limit=2&cursor=x", "unknown query parameter 'limit'; it takes before, flow, n, "),
        ("/flows?page=2", "unknown query parameter 'page'; it takes none"),
    ],
)
def test_query_parameters_that_are_unknown_are_refused_by_name(server, path, told):
    problem = server.problem(path, 422)
    assert problem["detail"].startswith(told)
    assert problem["errors"][0]["message"] == "unknown parameter"


def test_no_such_flow(server):
    assert "summed" in server.problem("/flows/nosuch/runs", 404, {"params": {}})["detail"]


def test_an_idempotency_key_gives_the_same_run(server):
    def start(count, key):
        return server.client.post(
            "/flows/summed/runs",
            json={"params": {"count": count}},
            headers={"Idempotency-Key": key},
        )

    first, second = start(2, "one"), start(2, "one")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"] != start(2, "two").json()["id"]
    other = start(3, "one")
    assert other.status_code == 422
    assert "one" in other.json()["detail"]
    server.ended(first.json()["id"])
    assert start(2, "one").json()["id"] == first.json()["id"]
    of_another_flow = server.client.post(
        "/flows/doubled/runs", json={"params": {"count": 2}}, headers={"Idempotency-Key": "one"}
    )
    assert of_another_flow.status_code == 202
    assert of_another_flow.json()["flow"] == "doubled"


def starts(server):
    """How many requests to start a run were answered."""
    route = (
        r'lokki_http_request_seconds_count\{method="POST",route="/flows/\{name\}/runs",.*\} (.*)'
    )
    return sum(map(float, re.findall(route, server.client.get("/metrics").text)))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/flows/summed/runs", {"params": {"count": 2}}, 202),
        ("/flows/summed/runs", {"params": {"nosuch": 2}}, 422),
        ("/flows/summed/runs", [], 422),
        ("/flows/nosuch/runs", {}, 404),
        ("/flows/-/runs", {}, 422),
    ],
)
def test_a_start_is_answered_and_counted_alike_with_a_key_and_without(server, path, body, status):
    before = starts(server)
    plain = server.client.post(path, json=body)
    keyed = server.client.post(path, json=body, headers={"Idempotency-Key": f"{path} {body}"})
    assert starts(server) == before + 2
    assert plain.status_code == keyed.status_code == status
    assert list(plain.headers) == list(keyed.headers)
    of_its_own = ("id", "created")
    of_both = [
        {key: value for key, value in each.json().items() if key not in of_its_own}
        for each in (plain, keyed)
    ]
    assert of_both[0] == of_both[1]
    assert list(plain.json()) == list(keyed.json())


def test_many_at_once_with_one_key_are_one_run(server):
    found = []

    def start():
        answer = server.client.post(
            "/flows/summed/runs", json={"params": {}}, headers={"Idempotency-Key": "at once"}
        )
        found.append(answer.json()["id"])

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


# ---- lists ---------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_in_pages(server):
    ids = [server.start("words", text=str(n)) for n in range(5)]
    for run_id in ids:
        server.ended(run_id)
    found, before = [], None
    while True:
        page = server.get("/runs", flow="words", n=2, **({"before": before} if before else {}))
        assert len(page["runs"]) <= 2
        found += [run["id"] for run in page["runs"]]
        before = page["next"]
        if before is None:
            break
    assert found[:5] == ids[::-1]
    assert len(set(found)) == len(found)


def test_runs_are_filtered(server):
    good, bad = server.ran("doubled"), server.ran("breaks", count=9)
    by = server.get("/runs", status=["failed", "succeeded"], n=1000)["runs"]
    assert {good["id"], bad["id"]} <= {run["id"] for run in by}
    failed = server.get("/runs", status="failed", n=1000)["runs"]
    assert bad["id"] in {run["id"] for run in failed}
    assert {run["status"] for run in failed} == {"failed"}
    assert {run["flow"] for run in server.get("/runs", flow="doubled")["runs"]} == {"doubled"}
    assert server.get("/runs", flow="nosuch") == {"runs": [], "next": None}
    since = server.get("/runs", since=bad["created"], n=1000)["runs"]
    assert bad["id"] in {run["id"] for run in since}
    assert server.get("/runs", since="2100-01-01T00:00:00")["runs"] == []
    assert all(each["failures"] == [] for run in failed for each in run["stages"])


@pytest.mark.parametrize(
    "query",
    ["status=gone", "n=0", "n=1001", "n=x", "since=soon", "before=../x", "flow=a/b", "before="],
)
def test_a_wrong_filter_is_reported(server, query):
    server.problem(f"/runs?{query}", 422)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00", "9999-12-31T23:59:59-12:00", "0"])
def test_any_time_may_be_asked_for(server, at):
    assert server.client.get("/runs", params={"since": at}).status_code == 200


def test_a_page_before_a_run_that_is_not_there(server):
    server.problem("/runs", 404, before="nosuch")


def test_a_run_is_found_by_the_beginning_of_its_id(server):
    server.ran("words")
    run = server.ran("words")
    assert server.get(f"/runs/{run['id'][:-2]}")["id"] == run["id"]
    assert "several" in server.problem(f"/runs/{run['id'][:2]}", 404)["detail"]
    server.problem("/runs/nosuch", 404)


# ---- one run -------------------------------------------------------------------------------------


def test_failures_are_in_groups(server):
    run = server.ran("tolerant", count=30)
    assert run["status"] == "succeeded"
    stage = run["stages"][1]
    assert (stage["succeeded"], stage["tolerated"], stage["failed"]) == (27, 3, 0)
    (group,) = stage["failures"]
    assert (group["count"], group["items"], group["tolerated"]) == (3, [3, 13, 23], True)
    assert (group["step"], group["type"], group["message"]) == ("fragile", "ValueError", "no 3")
    assert group["place"]["file"] == str(server.folder / "flows.py")
    assert group["place"]["function"] == "fragile"
    assert group["traceback"].startswith("Traceback")
    run = server.ran("breaks", count=10)
    assert run["error"]["step"] == "broken"
    assert run["error"]["type"] == "KeyError"
    assert run["stages"][1]["failures"][0]["failed"] >= 1


CHAINED = """\
from lokki import flow, main, step

@step
def numbers():
    return list(range(6))

@step
def parsed(number):
    return 1 / number

@step
def told(number):
    return str(number)

@flow
def chained():
    return numbers().map([parsed, told], tolerated_failures=1).agg(len_of)

@step
def len_of(texts):
    return len(texts)

if __name__ == "__main__":
    main(chained)
"""


def test_the_inner_steps_of_a_map_are_reported_by_the_api_as_by_json(shared, server):
    file = shared.write("chained.py", CHAINED)
    environment = os.environ | {"LOKKI_LOCAL_JOURNAL": str(shared.folder / "journal" / "lokki.db")}
    subprocess.run([sys.executable, file, "run"], env=environment, check=True, capture_output=True)
    (found,) = server.get("/runs", flow="chained")["runs"]
    with lokki(shared, "show", found["id"], "--json") as shown:
        run = json.loads(shown.communicate(timeout=50)[0])
    _, both, last = run["stages"]
    assert [
        (each["step"], each["succeeded"], each["failed_attempts"]) for each in both["inner"]
    ] == [
        ("parsed", 5, 1),
        ("told", 5, 0),
    ]
    assert all(each["mean_seconds"] >= 0 for each in both["inner"])
    assert last["inner"] == []
    assert server.get(f"/runs/{found['id']}") == run


def test_a_strip_counts_all_items(server):
    run = server.ran("tolerant", count=40)
    strip = server.get(f"/runs/{run['id']}/stages/1/strip", width=8)
    assert strip["total"] == 40
    assert len(strip["cells"]) == 8
    assert sum(sum(cell.values()) for cell in strip["cells"]) == 40
    assert sum(cell.get("tolerated", 0) for cell in strip["cells"]) == 4
    for width in (0, 2001, "x"):
        server.problem(f"/runs/{run['id']}/stages/1/strip", 422, width=width)


# ---- items ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tolerant(server):
    return server.ran("tolerant", count=30)


def test_items_are_listed_in_pages(server, tolerant):
    path, found, after = f"/runs/{tolerant['id']}/stages/1/items", [], -1
    while after is not None:
        page = server.get(path, after=after, limit=7)
        found += page["items"]
        after = page["next"]
    assert [item["index"] for item in found] == list(range(30))
    assert found[4]["attempts"] == 2
    assert found[3]["error"] == {"type": "ValueError", "message": "no 3"}
    assert found[0]["error"] is None


def test_items_by_status_and_by_group(server, tolerant):
    path = f"/runs/{tolerant['id']}/stages/1/items"

    def found(**wanted):
        return [item["index"] for item in server.get(path, **wanted)["items"]]

    group = tolerant["stages"][1]["failures"][0]["id"]
    assert found(status="tolerated") == found(error=group) == [3, 13, 23]
    assert len(found(status="succeeded")) == 27
    assert len(found(status=["succeeded", "tolerated"])) == 30
    assert found(status="failed") == found(error="nosuch") == []
    assert found(status="tolerated", after=3, limit=1) == [13]
    for wrong in ({"status": "gone"}, {"limit": 0}, {"limit": 1001}, {"after": -2}):
        server.problem(path, 422, **wrong)


def test_one_item_has_its_attempts_and_its_output(server, tolerant):
    path = f"/runs/{tolerant['id']}/stages/1/items"
    good, again, bad = (server.get(f"{path}/{index}") for index in (5, 4, 3))
    assert good["output"] == {"json": 5}
    assert (good["step"], good["failures"]) == ("fragile", [])
    assert again["output"] == {"json": 4}
    (failure,) = again["failures"]
    assert (failure["attempt"], failure["type"], failure["message"]) == (1, "OSError", "try again")
    assert [each["attempt"] for each in bad["failures"]] == [1, 2, 3]
    assert bad["output"] is None
    server.problem(f"{path}/30", 404)
    server.problem(f"{path}/{2**32}", 422)
    server.problem(f"/runs/{tolerant['id']}/stages/3/items", 404)
    server.problem(f"/runs/{tolerant['id']}/stages/x/items", 422)


# ---- results -------------------------------------------------------------------------------------


def _result(value):
    return {"result": value, "type": None, "bytes": None, "preview": None, "download": None}


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("deep", {"at": "2026-02-03T00:00:00", "of": [1, "2.5", "YWJj"]}),
        ("set", [1]),
        ("nan", "nan"),
        ("text", "half a character: ?"),
        ("short range", [0, 1, 2]),
    ],
)
def test_results_are_json(server, kind, shown):
    run = server.ran("values", kind=kind)
    assert run["status"] == "succeeded", run["error"]
    assert server.get(f"/runs/{run['id']}/result") == _result(shown)
    item = server.get(f"/runs/{run['id']}/stages/0/items/0")
    assert item["output"] == {"json": shown}


def test_a_file_is_imported_once_for_all_its_flows(place):
    """Else the classes of the first flow's module would not be found any more."""
    place.write("flows.py")
    server = place.serve("flows.py")
    server.ran("values", kind="own")
    server.ran("doubled")
    run = server.ran("values", kind="own")
    assert server.get(f"/runs/{run['id']}/result")["type"] == "flows.Own"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("own", "flows.Own"),
        ("large", "a large value"),
        ("largest", "a large value"),
        ("range", "a value that JSON cannot hold"),
    ],
)
def test_other_results_are_reported_by_type_and_can_be_downloaded(server, kind, told):
    run = server.ran("values", kind=kind)
    result = server.get(f"/runs/{run['id']}/result")
    assert (result["result"], result["type"]) == (None, told)
    assert result["bytes"] > 0
    packed = server.client.get(result["download"])
    assert packed.headers["content-type"] == "application/octet-stream"
    assert "attachment" in packed.headers["content-disposition"]
    if kind == "range":
        data = packed.content
        value = pickle.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        assert value == range(10**12)
    output = server.get(f"/runs/{run['id']}/stages/0/items/0")["output"]
    assert output["type"] == told


def test_a_large_result_that_is_not_the_recorded_one_is_no_result(server, shared):
    run = server.ran("words", text="x" * 200_000)
    assert len(server.get(f"/runs/{run['id']}/result")["result"]) == 200_000
    (file,) = (shared.folder / "journal" / "payloads").rglob(f"{run['id']}/**/output.pkl.gz")
    content = file.read_bytes()
    file.write_bytes(content[:-8] + bytes(8))
    for path in ("result", "result.txt", "result.pickle", "stages/0/items/0"):
        told = server.problem(f"/runs/{run['id']}/{path}", 409)["detail"]
        assert "its content differs" in told
        assert told.endswith("or resume it from stage 'same', which makes it again")
    file.unlink()
    assert "no payload" in server.problem(f"/runs/{run['id']}/result", 409)["detail"]


def test_nothing_of_a_result_is_run(server, shared):
    run = server.ran("values", kind="trap")
    assert run["status"] == "succeeded"
    result = server.get(f"/runs/{run['id']}/result")
    assert result["result"] is None
    assert "exec" in result["type"]
    assert server.client.get(result["download"]).status_code == 200
    assert server.get(f"/runs/{run['id']}/stages/0/items/0")["output"]["type"] == result["type"]
    read_by = (shared.folder / "trap").read_text().split()  # the runner, which has the flow's code
    assert set(read_by) <= {str(pid) for pid in server.runners()}


def test_the_result_of_a_map_is_a_list(server):
    run = server.ran("doubled", count=3)
    assert server.get(f"/runs/{run['id']}/result") == _result([0, 2, 4])
    packed = server.client.get(f"/runs/{run['id']}/result.pickle").content
    assert pickle.loads(gzip.decompress(packed)) == [0, 2, 4]
    large = server.ran("doubled", count=1001)
    assert "1001" in server.problem(f"/runs/{large['id']}/result", 409)["detail"]


@pytest.mark.parametrize(
    ("flow", "params", "printed"),
    [
        ("summed", {}, "12\n"),
        ("doubled", {"count": 3}, "[0, 2, 4]\n"),
        ("words", {"text": "ä"}, "ä\n"),
        ("words", {"text": ""}, "\n"),
        ("values", {"kind": "set"}, "{1}\n"),
        ("values", {"kind": "text"}, "half a character: \\ud800\n"),
        ("nothing", {}, ""),
    ],
)
def test_results_as_they_are_printed(server, flow, params, printed):
    run = server.ran(flow, **params)
    answer = server.client.get(f"/runs/{run['id']}/result.txt")
    assert (answer.status_code, answer.text) == (200, printed)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(("kind", "told"), [("own", "flows.Own"), ("range", "cannot hold")])
def test_what_cannot_be_printed_is_reported_with_where_it_is(server, kind, told):
    run = server.ran("values", kind=kind)
    detail = server.problem(f"/runs/{run['id']}/result.txt", 409)["detail"]
    assert told in detail
    assert detail.endswith(f"/runs/{run['id']}/result.pickle")


def test_there_is_no_result_of_a_run_that_failed(server):
    run = server.ran("breaks")
    assert "failed" in server.problem(f"/runs/{run['id']}/result", 409)["detail"]
    server.problem(f"/runs/{run['id']}/result.pickle", 409)


# ---- logs ----------------------------------------------------------------------------------------


def test_lines_are_filtered_and_paged(server):
    run = server.ran("summed", count=4)
    path = f"/runs/{run['id']}/logs"
    page = server.get(path)
    told = [(each["step"], each["item"], each["message"]) for each in page["lines"]]
    assert ("numbers", None, "counting to 4") in told or ("numbers", 0, "counting to 4") in told
    assert len([each for each in told if each[0] == "double"]) == 4
    assert {each["source"] for each in page["lines"]} == {"stdout"}

    def messages(**wanted):
        return [each["message"] for each in server.get(path, **wanted)["lines"]]

    assert messages(step="double", item=2) == ["doubling 2"]
    assert messages(level="ERROR") == messages(until="2000-01-01T00:00:00Z") == []
    assert messages(attempt=1, since="2000-01-01T00:00:00Z") == messages()
    first = server.get(path, limit=2)
    rest = server.get(path, after=first["next"])
    assert first["lines"] + rest["lines"] == page["lines"]
    end = {"lines": [], "next": rest["next"], "previous": None}
    assert server.get(path, after=rest["next"]) == end
    for wrong in ({"level": "LOUD"}, {"item": -1}, {"limit": 0}, {"after": -1}, {"since": "x"}):
        server.problem(path, 422, **wrong)


def test_the_last_lines_and_those_before_them(server):
    run = server.ran("summed", count=12)
    path = f"/runs/{run['id']}/logs"
    lines = server.get(path)["lines"]
    last = server.get(path, tail=True, limit=5)
    assert last["lines"] == lines[-5:]
    assert server.get(path, after=last["next"])["lines"] == []
    before = server.get(path, before=last["previous"], limit=5)
    assert before["lines"] == lines[-10:-5]
    rest = server.get(path, before=before["previous"], limit=500)
    assert rest["lines"] == lines[:-10]
    assert server.get(path, before=rest["previous"])["lines"] == []
    assert [
        each["item"] for each in server.get(path, tail=True, step="double", item=3)["lines"]
    ] == [3]
    none = server.get(path, tail=True, step="nosuch")
    assert none == {"lines": [], "next": last["next"], "previous": None}


# ---- cancel and resume ---------------------------------------------------------------------------


def test_what_a_resume_would_do_is_reported(server, shared):
    run = server.ran("breaks", count=9)["id"]
    plan = server.client.post(f"/runs/{run}/plan", json={}).json()
    assert plan["anything"] is True
    assert "1 of 9 items that failed" in plan["told"][0]
    assert server.get(f"/runs/{run}")["status"] == "failed"
    assert "nosuch" in server.problem(f"/runs/{run}/plan", 409, {"from": "nosuch"})["detail"]
    server.problem("/runs/nosuch/plan", 404, {})
    done = server.ran("summed")["id"]
    plan = server.client.post(f"/runs/{done}/plan", json={}).json()
    assert plan["anything"] is False
    assert "nothing runs again" in plan["told"][0]
    assert server.client.post(f"/runs/{done}/plan", json={"from": "add"}).json()["anything"] is True


def test_the_queue_is_bounded(place):
    place.write("flows.py")
    server = place.serve("flows.py", LOKKI_SERVER_MAX_QUEUED="2", LOKKI_SERVER_MAX_RUNS="1")
    first = server.start("waiting")
    server.until_status(first, "running")
    queued = [server.start("waiting") for _ in range(2)]
    answer = server.client.post("/flows/waiting/runs", json={})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "10"
    assert answer.json()["title"] == "The queue is full"
    place.open()
    assert all(server.ended(run)["status"] == "succeeded" for run in (first, *queued))
    assert server.ran("waiting")["status"] == "succeeded"


def test_a_running_run_is_cancelled_and_resumed(server):
    run_id = server.start("napping")
    server.until_status(run_id, "running")
    server.problem(f"/runs/{run_id}/result", 409)
    owner = server.get(f"/runs/{run_id}")["owner"]
    assert owner["process"] in server.runners()
    assert owner["alive"] is True
    refused = server.problem(f"/runs/{run_id}/resume", 409, {})
    assert "is being run by process" in refused["detail"]
    until(lambda: len(server.get(f"/runs/{run_id}")["stages"]) == 2, "its map")
    tuned = server.client.post(f"/runs/{run_id}/tune", json={"concurrency": 5})
    assert tuned.json() == {"stage": "naps", "concurrency": 5, "before": None}
    refused = server.problem(f"/runs/{run_id}/unpause", 409, {})
    assert "is not paused" in refused["detail"]
    server.problem(f"/runs/{run_id}/tune", 422, {"concurrency": 0})
    as_json = {"Content-Type": "application/json"}
    assert server.client.post(f"/runs/{run_id}/tune", headers=as_json).status_code == 422
    answer = server.client.post(f"/runs/{run_id}/cancel", headers=as_json)  # no body is enough
    assert answer.status_code == 202
    run = server.ended(run_id)
    assert run["status"] == "cancelled"
    server.problem(f"/runs/{run_id}/cancel", 409, {})
    again = server.client.post(f"/runs/{run_id}/resume", json={})
    assert again.status_code == 202
    assert again.json()["cancel_requested"] is None
    run = server.ended(run_id)
    assert run["status"] == "succeeded"
    assert len(run["resumes"]) == 1
    assert run["resumes"][0]["by"] == "lokki serve"


def test_a_run_of_another_process_is_seen_and_cancelled(server, shared):
    shared.shut()
    process = lokki(shared, "run", "flows.py:waiting", "--value", "7")
    try:
        found = until(
            lambda: [
                run
                for run in server.get("/runs", flow="waiting", status="running")["runs"]
                if run["params"] == {"value": 7}
            ],
            "the run of another process",
        )
        assert found[0]["owner"]["process"] == process.pid
        answer = server.client.post(f"/runs/{found[0]['id']}/cancel", json={})
        assert answer.status_code == 202
        assert answer.json()["cancel_requested"] is not None
        while not process.stderr.readline().startswith("cancelling"):
            assert process.poll() is None
        shared.open()
        process.communicate(timeout=30)
        assert process.returncode == 130
        assert server.ended(found[0]["id"])["status"] == "cancelled"
    finally:
        process.kill()
        process.communicate()


def test_a_failed_run_goes_on_where_it_failed(server, shared):
    shared.shut()
    run = server.ran("breaks", count=9)
    assert run["status"] == "failed"
    shared.open()
    server.client.post(f"/runs/{run['id']}/resume", json={})
    run = until(
        lambda: (now := server.get(f"/runs/{run['id']}"))["status"] == "succeeded" and now,
        "the end of the resumed run",
    )
    assert run["error"] is None
    assert run["resumes"][0]["again"] == [
        "broken: 1 of 9 items that failed",
        "add: runs after that",
    ]


def _resumed(server, run_id, **body):
    answer = server.client.post(f"/runs/{run_id}/resume", json=body)
    assert answer.status_code == 202, answer.text
    return server.ended(run_id)


def test_a_resume_does_again_what_it_is_asked_to(server):
    run = server.ran("tolerant", count=14)
    group = run["stages"][1]["failures"][0]["id"]
    by_failed = _resumed(server, run["id"], failed=True)
    assert by_failed["status"] == "succeeded"
    by_group = _resumed(server, run["id"], error=group)
    by_stage = _resumed(server, run["id"], **{"from": "fragile"})
    again = [each["again"][0] for each in by_stage["resumes"]]
    assert again == [
        "fragile: 2 of 14 items that failed and were tolerated",
        f"fragile: 2 of 14 items that failed with {group}",
        "fragile: all of its 14 items, as requested",
    ]
    assert len(by_group["resumes"]) == 2


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({}, 409, "name what to run again"),
        ({"from": "nosuch"}, 409, "no stage 'nosuch'"),
        ({"error": "nosuch"}, 409, "no failure group 'nosuch'"),
        ({"failed": True}, 409, 'no failed items: resume it without "failed": true'),
        ({"failed": True, "from": "add"}, 409, 'takes one of "failed", "error" and "from"'),
        ({"deployed": True}, 409, 'the code of its file: resume it without "deployed": true'),
        ({"from": ""}, 422, "from"),
        ({"failed": "maybe"}, 422, "failed"),
        ({"form": "add"}, 422, "form"),
    ],
)
def test_a_wrong_resume_changes_nothing(server, body, status, told):
    run = server.ran("summed")
    assert told in server.problem(f"/runs/{run['id']}/resume", status, body)["detail"]
    assert server.get(f"/runs/{run['id']}") == run


def test_actions_on_a_run_that_is_not_there(server):
    server.problem("/runs/nosuch/cancel", 404, {})
    server.problem("/runs/nosuch/resume", 404, {})
    server.problem("/runs/nosuch/events", 404)
    server.problem("/runs/nosuch/logs", 404)
    server.problem("/runs/nosuch/result", 404)
    server.problem("/runs/nosuch/stages/0/items", 404)


def test_a_trend_has_the_latest_runs_in_numbers(server):
    runs = [server.ran("tolerant", count=count)["id"] for count in (10, 20)]
    found = server.get("/flows/tolerant/trend", n=2)["runs"]
    assert [each["id"] for each in found] == runs
    assert [(each["items"], each["failed"]) for each in found] == [(10, 1), (20, 2)]
    assert {each["status"] for each in found} == {"succeeded"}
    assert all(each["duration"] > 0 for each in found)
    server.problem("/flows/no-such-flow/trend", 404)


def test_the_inputs_of_items_are_listed(server):
    run = server.ran("doubled", count=5)["id"]
    inputs = f"/runs/{run}/stages/1/inputs"
    assert server.get(inputs, item=[4, 0, 9])["inputs"] == [
        {"index": 4, "text": "4"},
        {"index": 0, "text": "0"},
    ]
    assert server.get(f"/runs/{run}/stages/0/inputs", item=0)["inputs"] == []
    server.problem(inputs, 422)
    server.problem(inputs, 422, item=list(range(101)))
