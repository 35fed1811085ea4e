"""What is large over HTTP: errors, parameters, results and requests."""

from __future__ import annotations

import pytest
from serving import Place

FLOWS = """
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
        assert message.endswith("; the item keeps its last failure whole)")
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
