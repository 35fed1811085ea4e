"""The service's mirror of AWS: the API of its runs, what it costs, and the pages that show them."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import threading
import time

import httpx
import pytest
from clouds import NAMES, begin, ended, off
from playwright.sync_api import expect, sync_playwright
from serving import Place, until

from lokki.model.base import fields_of
from lokki.store.codec import pickle_in

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.timeout(120)


def serve(tmp_path_factory, monkeypatch, config, endpoint):
    """A server whose AWS is at ``endpoint``, with the flows that are deployed there."""
    folder = tmp_path_factory.mktemp("mirror")
    for name, value in {
        "HOME": str(folder),
        "LOKKI_LOCAL_JOURNAL": str(folder / "lokki.db"),
        "LOKKI_AWS_ENDPOINT": endpoint,
        "LOKKI_AWS_REGION": "us-east-1",
        "LOKKI_ARTIFACT_BUCKET": config.aws.artifact_bucket,
    }.items():
        monkeypatch.setenv(name, value)
    found = Place(folder)
    shutil.copy(os.path.join(os.path.dirname(__file__), "deployed_flows.py"), folder)
    return found, found.serve("--runners", "1")


@pytest.fixture(scope="module")
def server(tmp_path_factory, deployed):
    with pytest.MonkeyPatch.context() as patch:
        config = deployed.config()
        place, server = serve(tmp_path_factory, patch, config, config.aws.endpoint)
        yield server
        place.close()


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.client.base_url, timeout=30) as client:
        yield client


def start(client, flow="crunching", **params):
    answer = client.post(f"/aws/flows/{flow}/executions", json={"params": params})
    assert answer.status_code == 202, answer.text
    return f"/aws/flows/{flow}/executions/{answer.json()['id']}"


def wait(client, url):
    while (run := client.get(url).json())["status"] == "running":
        time.sleep(0.1)
    return run


# ---- the API -------------------------------------------------------------------------------------


def test_a_run_is_started_and_reported_as_those_of_the_journal(client, place):
    url = start(client, count=3)
    run = wait(client, url)
    there = place.run(run["id"])
    there = json.loads(json.dumps(there, default=fields_of))
    assert {**run, "duration": 0} == {**there, "duration": 0}
    assert client.get(f"{url}/result").json()["result"] == [6, []]
    assert client.get(f"{url}/result.txt").text == "[6, []]\n"
    assert pickle.loads(pickle_in(client.get(f"{url}/result.pickle").content)) == [6, []]
    assert client.get(f"{url}/params").json()["params"] == run["params"]
    lines = client.get(f"{url}/logs", params={"item": 2}).json()
    assert [line["message"] for line in lines["lines"]] == ["crunching 2"]
    last = client.get(f"{url}/logs", params={"tail": True, "limit": 1}).json()["lines"]
    assert [line["id"] for line in last] == [3]
    page = client.get("/aws/flows/crunching/executions", params={"n": 5}).json()
    assert run["id"] in [each["id"] for each in page["runs"]]
    told = client.get("/aws/flows").json()
    assert "crunching" in told["flows"]
    assert told["account"] == "AWS account 123456789012, us-east-1"


def test_a_running_map_gets_another_concurrency(client, hold, tmp_path):
    marks = tmp_path / "marks"
    url = start(client, "lingering", count=3, hold=str(hold), marks=str(marks))
    until(marks.exists, "a first item")
    answer = client.post(f"{url}/tune", json={"concurrency": 2})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"stage": "linger", "concurrency": 2, "before": 1}
    until(lambda: marks.read_text() == "xx", "a second item")
    hold.unlink()
    wait(client, url)
    again = client.post(f"{url}/tune", json={"concurrency": 2})
    assert (again.status_code, again.json()["title"]) == (409, "The run cannot be tuned")


def test_items_are_reported_with_their_failures_and_outputs(client, switch):
    url = start(client, "tolerant", count=5, switch=str(switch))
    wait(client, url)
    strip = client.get(f"{url}/stages/1/strip", params={"width": 5}).json()
    assert strip["cells"] == [
        {"succeeded": 1}, {"tolerated": 1}, {"succeeded": 1}, {"succeeded": 1}, {"tolerated": 1},
    ]  # fmt: skip
    items = client.get(f"{url}/items", params={"status": "tolerated"}).json()["items"]
    assert [(item["index"], item["error"]["type"]) for item in items] == [
        (1, "ValueError"), (4, "ValueError"),
    ]  # fmt: skip
    inputs = client.get(f"{url}/stages/1/inputs", params={"item": [1, 3]}).json()["inputs"]
    assert inputs == [{"index": 1, "text": "1"}, {"index": 3, "text": "3"}]
    page = client.get(f"{url}/stages/1/items", params={"limit": 2}).json()
    assert ([item["index"] for item in page["items"]], page["next"]) == ([0, 1], 1)
    item = client.get(f"{url}/stages/1/items/1").json()
    assert item["failures"][0]["message"] == "cannot crunch 1"
    assert client.get(f"{url}/stages/1/items/2").json()["output"] == {"json": [4, 4]}
    assert client.get(f"{url}/stages/7/items").status_code == 404


def test_a_failed_run_is_resumed_and_one_that_has_ended_not_cancelled(client, switch):
    url = start(client, count=3, switch=str(switch))
    run = wait(client, url)
    assert run["status"] == "failed"
    assert client.get(f"{url}/result").status_code == 409
    answer = client.post(f"{url}/cancel", json={})
    assert (answer.status_code, answer.json()["detail"]) == (409, f"run {run['id']} is failed")
    assert client.post(f"{url}/plan", json={}).json()["anything"] is True
    *_, anew = client.post(f"{url}/plan", json={"deployed": True}).json()["summary"]
    assert anew == (
        f"a new run begins with the stored results of {run['id']}, and has the deployed code"
    )
    with off(switch):
        assert client.post(f"{url}/resume", json={}).json()["id"] == run["id"]
        assert wait(client, url)["status"] == "succeeded"
    assert client.post(f"{url}/resume", json={}).status_code == 409
    again = client.post(f"{url}/resume", json={"from": "total"})
    assert (again.status_code, again.json()["id"] != run["id"]) == (202, True)


def test_a_run_is_cancelled(client, hold):
    url = start(client, count=1, hold=str(hold))
    while len(client.get(url).json()["stages"]) < 3:
        time.sleep(0.1)
    assert client.post(f"{url}/cancel", json={}).status_code == 202
    hold.unlink()
    assert wait(client, url)["status"] == "cancelled"


def test_a_run_that_goes_on_is_streamed_to_its_end(client):
    url = start(client, count=2)
    seen: list[str] = []
    with client.stream("GET", f"{url}/events", params={"logs": True}) as stream:
        seen = [line for line in stream.iter_lines() if line.startswith(("event:", "data:"))]
    events = [line.removeprefix("event: ") for line in seen if line.startswith("event:")]
    assert events[0] == "run"
    assert events[-1] == "end"
    assert json.loads(seen[-1].removeprefix("data: ")) == {"status": "succeeded"}


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("crunching/executions/nosuch", 404, "no run 'nosuch' of crunching"),
        ("nosuch/executions/nosuch", 404, "no run 'nosuch' of nosuch"),
        ("crunching/executions/nosuch/events", 404, "no run 'nosuch' of crunching"),
    ],
)
def test_what_is_not_there_is_reported(client, path, status, told):
    answer = client.get(f"/aws/flows/{path}")
    assert (answer.status_code, told in answer.json()["detail"]) == (status, True)


def test_wrong_parameters_start_nothing(client):
    answer = client.post("/aws/flows/crunching/executions", json={"params": {"count": "many"}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["name"] == "count"
    answer = client.post("/aws/flows/nosuch/executions", json={"params": {}})
    assert answer.status_code == 404


def test_the_same_idempotency_key_gives_the_same_run_of_a_flow(client, place):
    def asked(key, flow="crunching", **params):
        url, body = f"/aws/flows/{flow}/executions", {"params": params}
        return client.post(url, json=body, headers={"Idempotency-Key": key})

    first = asked("nightly 7", count=1).json()
    wait(client, f"/aws/flows/crunching/executions/{first['id']}")
    again = asked("nightly 7", count=1)
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    assert asked("nightly 8", count=1).json()["id"] != first["id"]
    assert asked("nightly 7", "tolerant", count=1).json()["id"] != first["id"]

    other = asked("nightly 7", count=2)
    assert (other.status_code, other.json()["detail"]) == (
        422,
        "the key 'nightly 7' was used for a run of this flow with other parameters: "
        "give the same parameters, or another key",
    )
    assert asked("nightly 7", count=True).status_code == 422
    body = {"params": {"count": 1}, "tags": ["nightly"]}
    url, headers = "/aws/flows/crunching/executions", {"Idempotency-Key": "nightly 9"}
    above = f"00-{1:032x}-{2:016x}-01"
    tagged = client.post(url, json=body, headers=headers | {"traceparent": above}).json()
    given = place.wait(place.executions.input_of, place.run(tagged["id"]))
    assert given == {"count": 1, "lokki:tags": ["nightly"], "lokki:traceparent": above}
    assert wait(client, f"{url}/{tagged['id']}")["tags"] == ["nightly"]
    assert tagged["params"] == {"count": 1}
    assert client.post(url, json=body, headers=headers).json()["id"] == tagged["id"]
    assert client.post(url, json={"params": {"count": 1}}, headers=headers).status_code == 422


# ---- what it costs, and what is refused ----------------------------------------------------------


def test_ten_who_watch_cost_one_poller(tmp_path_factory, monkeypatch, deployed, way, place, hold):
    run_id = begin(place, count=1, hold=str(hold))
    at, server = serve(tmp_path_factory, monkeypatch, deployed.config(), way.endpoint)
    try:
        url = f"{server.client.base_url}/aws/flows/crunching/executions/{run_id}/events"
        ends = []

        def watch():
            with httpx.stream("GET", url, timeout=60) as stream:
                ends.append([line for line in stream.iter_lines() if line.startswith("event:")][-1])

        watching = [threading.Thread(target=watch) for _ in range(10)]
        for each in watching:
            each.start()
        while way.seen.count("AWSStepFunctions.DescribeExecution") < 4:
            time.sleep(0.1)
        hold.unlink()
        for each in watching:
            each.join()
        assert ends == ["event: end"] * 10
        took = place.run(run_id).duration
        assert way.seen.count("AWSStepFunctions.DescribeExecution") <= took / 2 + 3
    finally:
        at.close()


def test_a_permission_that_is_missing_is_named(tmp_path_factory, monkeypatch, deployed, way):
    way.refuses["DescribeStacks"] = (403, "AccessDenied")
    at, server = serve(tmp_path_factory, monkeypatch, deployed.config(), way.endpoint)
    try:
        told = httpx.get(f"{server.client.base_url}/aws/flows", timeout=30).json()
        assert told["flows"] == []
        assert "no permission for cloudformation:DescribeStacks: ask for it" in told["problem"]
        way.refuses["GetCallerIdentity"] = (403, "InvalidClientTokenId")
    finally:
        at.close()
    at, server = serve(tmp_path_factory, monkeypatch, deployed.config(), way.endpoint)
    try:
        answer = httpx.get(f"{server.client.base_url}/aws/flows/crunching/executions", timeout=30)
        assert answer.status_code == 502
        assert "AWS does not know these credentials" in answer.json()["detail"]
    finally:
        at.close()


def test_without_a_bucket_there_is_no_aws(tmp_path_factory, monkeypatch, deployed):
    at, server = serve(tmp_path_factory, monkeypatch, deployed.config(), "http://127.0.0.1:9")
    at.close()
    monkeypatch.delenv("LOKKI_ARTIFACT_BUCKET")
    server = at.serve()
    try:
        base = server.client.base_url
        told = httpx.get(f"{base}/aws/flows").json()
        assert told == {"flows": [], "account": None, "problem": None}
        answer = httpx.get(f"{base}/aws/flows/crunching/executions")
        assert (answer.status_code, "aws.artifact_bucket" in answer.text) == (404, True)
    finally:
        at.close()


# ---- pages ---------------------------------------------------------------------------------------


@pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"),
    reason="Chromium is not installed: apt-get install chromium",
)
def test_runs_on_aws_are_shown_beside_those_of_here_and_mended(server, client, place, switch):
    name = f"seen-{next(NAMES)}"
    place.start("crunching", name, {"count": 4, "switch": str(switch)})
    ended(place, name)
    client.post("/flows/crunching/runs", json={"params": {"count": 2}}).raise_for_status()
    told: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(base_url=str(server.client.base_url))
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("console", lambda line: line.type == "error" and told.append(line.text))
        page.goto("/ui/runs?flow=crunching")
        row = page.get_by_role("row").filter(has_text=name)
        expect(row.get_by_text("AWS")).to_be_visible()
        here = (
            page.get_by_role("row")
            .filter(has_text=re.compile(r"\d{8}-"))
            .filter(has_not_text="AWS")
        )
        expect(here.first).to_be_visible()
        row.get_by_role("link", name=name).click()
        expect(page.get_by_text("cannot crunch 1").first).to_be_visible()
        page.get_by_role("link", name="Logs").click()
        expect(page.get_by_text("crunching 0")).to_be_visible()
        page.get_by_role("link", name="Overview").click()
        with off(switch):
            page.get_by_role("button", name="Resume…").click()
            page.get_by_role("button", name="Resume", exact=True).click()
            status = page.locator("main").get_by_text("succeeded", exact=True).first
            expect(status).to_be_visible(timeout=60_000)
        page.get_by_role("link", name="Result").click()
        expect(page.get_by_text("12").first).to_be_visible()
        page.get_by_role("link", name="Compare…").click()
        page.get_by_label("Second run").select_option(name)
        expect(page.get_by_text("The result is the same.")).to_be_visible()
        page.goto("/ui/flows/crunching")
        expect(page.get_by_role("button", name="Start on AWS")).to_be_visible()
        browser.close()
    assert told == []
