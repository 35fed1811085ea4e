"""What is large over HTTP: errors, parameters, results and requests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from serving import Place

from lokki import Client
from lokki.store.codec import unpack

FLOWS = """
import random
from lokki import flow, step

LONG = "long " * 50_000

@step
def numbers(count):
    return list(range(count))

@step
def fails(number):
    raise ValueError(f"item {number}: {LONG}")

@flow
def failing(count: int = 8):
    return numbers(count).map(fails, tolerated_failures=1.0)

@flow
def broken():
    return numbers(1).map(fails)

@step
def noise(size):
    return random.Random(size).randbytes(size)

@step
def length(value):
    return len(value)

@flow
def taking(value):
    return length(value)

@flow
def noisy(size: int):
    return noise(size)

@step
def total(values):
    if values[0] == 1 and not OPEN.exists():
        raise OSError("closed")
    return sum(values)

@flow
def adding(values: list[int], name: str = "x"):
    return total(values)
"""
LONG = "long " * 50_000


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("sizes"))
    made.write("flows.py", FLOWS)
    yield made
    made.close()


# ---- errors --------------------------------------------------------------------------------------


def test_lists_cut_a_long_error_and_its_item_has_all_of_it(server):
    run = server.ran("failing", count=8)
    stage = f"/runs/{run['id']}/stages/1/items"
    answer = server.client.get(stage)
    assert len(answer.content) < 60_000
    for item in answer.json()["items"]:
        message = item["error"]["message"]
        assert message.startswith(f"item {item['index']}: long")
        assert message.endswith("; the item has its last failure in full)")
    whole = server.get(f"{stage}/5")
    assert len(whole["error"]["message"]) <= 4096
    assert whole["failures"][0]["message"] == f"item 5: {LONG}"
    assert whole["failures"][0]["traceback"].endswith(f"ValueError: item 5: {LONG}\n")


def test_runs_and_events_have_a_short_error(server):
    run = server.ran("broken")
    with server.events(f"/runs/{run['id']}/events?logs=true") as events:
        told = next(data for name, _, data in events if name == "run")
    lines = server.get(f"/runs/{run['id']}/logs")["lines"]
    (listed,) = server.get("/runs", flow="broken")["runs"]
    for each in (run, told, listed):
        assert len(each["error"]["message"]) <= 4096
        assert len(each["error"]["traceback"]) <= 16 * 1024
    assert max(len(line["message"]) for line in lines) < 5000


# ---- parameters ----------------------------------------------------------------------------------


def payloads(server):
    folder = server.folder / "journal" / "payloads" / "adding"
    return [path for path in folder.rglob("*") if path.is_file()]


def test_large_parameters_are_cut_in_runs_and_whole_by_themselves(server):
    values = list(range(100_000))
    run = server.ran("adding", values=values, name="mine")
    assert run["status"] == "succeeded"
    (listed,) = server.get("/runs", flow="adding", n=1)["runs"]
    for each in (run, listed):
        assert each["params_cut"]
        assert each["params"]["values"].startswith("[0, 1, 2, ")
        assert each["params"]["values"].endswith("… (cut: it has 688,890 characters)")
        assert each["params"]["name"] == "mine"
    assert server.get(f"/runs/{run['id']}/params") == {"params": {"values": values, "name": "mine"}}
    assert Client(str(server.client.base_url)).run(run["id"]).params()["values"] == values


def test_small_ones_are_whole_in_both(server):
    run = server.ran("adding", values=[2, 3])
    assert (run["params"], run["params_cut"]) == ({"values": [2, 3], "name": "x"}, False)
    assert server.get(f"/runs/{run['id']}/params")["params"] == run["params"]


def test_a_run_with_large_parameters_is_resumed(server, shared):
    values = [1, *range(100_000)]
    run = server.ran("adding", values=values)
    assert run["status"] == "failed"
    shared.open()
    assert server.client.post(f"/runs/{run['id']}/resume", json={}).status_code == 202
    assert server.ended(run["id"])["status"] == "succeeded"
    assert server.get(f"/runs/{run['id']}/result") == {
        "result": sum(values), "type": None, "bytes": None, "preview": None, "download": None
    }  # fmt: skip


def test_a_request_that_starts_no_run_leaves_no_parameters_behind(server):
    body = {"params": {"values": list(range(50_000))}}
    first, again = (
        server.client.post("/flows/adding/runs", json=body, headers={"Idempotency-Key": "large"})
        for _ in range(2)
    )
    assert first.json()["id"] == again.json()["id"]
    server.ended(first.json()["id"])
    before = payloads(server)
    body["params"]["name"] = "other"
    refused = server.client.post(
        "/flows/adding/runs", json=body, headers={"Idempotency-Key": "large"}
    )
    assert refused.status_code == 422
    assert payloads(server) == before
    assert len([each for each in before if first.json()["id"] in str(each)]) == 1


# ---- results -------------------------------------------------------------------------------------


def test_a_payload_that_is_too_large_to_be_shown_is_not_read(server):
    run = server.ran("noisy", size=3_000_000)
    (file,) = (server.folder / "journal" / "payloads" / "noisy").rglob("output.pkl.gz")
    content = file.read_bytes()
    file.unlink()
    result = server.get(f"/runs/{run['id']}/result")
    output = server.get(f"/runs/{run['id']}/stages/0/items/0")["output"]
    for each in (result, output):
        assert (each["type"], each["bytes"]) == ("a large value", len(content))
    told = server.problem(f"/runs/{run['id']}/result.txt", 409)["detail"]
    assert told == f"it is a large value, {len(content):,} bytes: /runs/{run['id']}/result.pickle"
    file.write_bytes(content)
    downloaded = server.client.get(result["download"]).content
    assert unpack(downloaded) == unpack(content)
    assert downloaded[:2] == b"\x1f\x8b", "any gunzip opens it"


# ---- requests ------------------------------------------------------------------------------------


def test_of_many_problems_twenty_are_reported(server):
    params = {f"name{number}": number for number in range(5_000)}
    told = server.problem("/flows/adding/runs", 422, {"params": params})
    assert len(told["errors"]) == 12  # ten that are unknown, how many more, and one that is missing
    assert told["errors"][10]["message"] == "and 4,990 more unknown parameters"
    assert len(told["detail"]) < 2_000
    told = server.problem("/runs?" + "&".join(f"x{number}=1" for number in range(100)), 422)
    assert len(told["errors"]) == 21
    assert told["errors"][20] == {"name": None, "message": "and 80 more"}
    told = server.problem("/runs?" + "&".join(f"status=no{number}" for number in range(60)), 422)
    assert len(told["errors"]) <= 21


@pytest.mark.parametrize(
    ("path", "most"), [("/flows/adding/runs", 10_485_760), ("/runs/nosuch/resume", 262_144)]
)
def test_a_body_that_is_too_large_is_reported_where_large_data_goes(server, path, most):
    large = {"params": {"values": [], "name": "x" * most}}
    assert server.problem(path, 413, large)["detail"] == (
        f"at most {most:,} bytes: put large data where the steps can read it, and pass its path or "
        "URL as a parameter"
    )


def test_parameters_up_to_the_limit_are_taken(server):
    name = "é" * 4_000_000
    run = server.ran("adding", values=[2, 3], name=name)
    assert (run["status"], run["params_cut"]) == ("succeeded", True)
    assert server.get(f"/runs/{run['id']}/params")["params"]["name"] == name


def test_a_request_is_read_where_the_flow_is(server):
    """The service's own process never makes values of it, however many there are."""
    text = '{"params": {"value": [' + ",".join(["[]"] * 1_000_000) + "]}}"
    before = peak_memory(server.process.pid)
    answer = server.client.post(
        "/flows/taking/runs", content=text, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 202, answer.text
    assert peak_memory(server.process.pid) - before < 40_000_000  # they take 64 MB and more
    run = server.ended(answer.json()["id"])
    assert server.get(f"/runs/{run['id']}/result")["result"] == 1_000_000


def test_a_value_with_many_wrong_parts_is_reported_at_once(server):
    told = server.problem("/flows/adding/runs", 422, {"params": {"values": ["x"] * 100_000}})
    assert told["detail"] == "parameter 'values[0]' must be a whole number, not 'x'"


def peak_memory(pid):
    """The most bytes that a process has had in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
