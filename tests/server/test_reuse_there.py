"""Runs of a server reuse results of each other, unless asked not to."""

from __future__ import annotations

from serving import Place

from lokki.client import Client

CACHED = """
from lokki import flow, step

@step
def numbers():
    return [1, 2, 3]

@step(cache="1h")
def noted(number):
    with open(OPEN.parent / "called", "a") as called:
        called.write(f"{number} ")
    return number * 2

@flow
def cached():
    return numbers().map(noted)
"""


def test_runs_reuse_results_unless_asked_not_to(place: Place):
    place.write("cached.py", CACHED)
    server = place.serve("cached.py", "--runners", "1")
    called = place.folder / "called"

    def calls(no_cache: bool = False) -> int:
        run = Client(str(server.client.base_url)).start("cached", no_cache=no_cache)
        assert run.result() == [2, 4, 6]
        shown = server.get(f"/runs/{run.id}")
        assert shown["no_cache"] is no_cache
        made = len(called.read_text().split()) if called.exists() else 0
        called.unlink(missing_ok=True)
        assert shown["stages"][1]["reused"] == 3 - made
        items = server.get(f"/runs/{run.id}/stages/1/items")["items"]
        assert [each["reused"] for each in items] == [made == 0] * 3
        return made

    assert [calls(), calls(), calls(no_cache=True), calls()] == [3, 0, 3, 0]
    run = Client(str(server.client.base_url)).start("cached")
    run.wait()
    run.resume(from_stage="noted", no_cache=True)
    run.wait()
    assert len(called.read_text().split()) == 3
    wrong = server.client.post("/flows/cached/runs", json={"no_cache": "yes"})
    assert (wrong.status_code, wrong.json()["errors"][0]["name"]) == (422, "body.no_cache")
