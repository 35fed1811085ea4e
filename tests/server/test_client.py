"""`Client`, against a real server."""

from __future__ import annotations

import pytest

from lokki import Client, DefinitionError, RunCancelled, RunFailed, ServerError


@pytest.fixture
def client(server):
    return Client(str(server.client.base_url))


def test_a_run_is_started_followed_and_fetched(client):
    run = client.start("doubled", {"count": 4})
    assert run.result(timeout=40) == [0, 2, 4, 6]
    assert run.state()["status"] == "succeeded"
    assert run.id in {each["id"] for each in client.runs(flow="doubled", limit=1000)}
    assert client.run(run.id).id == run.id
    assert [line["message"] for line in run.logs(step="double", item=2)] == ["doubling 2"]


def test_the_flows_are_reported(client):
    assert "doubled" in {flow["name"] for flow in client.flows()}


def test_a_key_gives_the_same_run(client):
    first, second = (client.start("doubled", {"count": 2}, key="mine") for _ in range(2))
    assert first.id == second.id


def test_a_run_that_fails_is_resumed(client, shared):
    run = client.start("breaks", {"count": 9})
    with pytest.raises(RunFailed, match="item 8, attempt 1: KeyError: 'closed'") as caught:
        run.result(timeout=40)
    assert "broken" in caught.value.traceback
    shared.open()
    run.resume()
    assert run.result(timeout=40) == sum(range(9))


def test_a_run_is_cancelled(client, server):
    run = client.start("napping")
    server.until_status(run.id, "running")
    with pytest.raises(TimeoutError, match=f"run {run.id} is running after 0 s"):
        run.wait(timeout=0)
    run.cancel()
    with pytest.raises(RunCancelled, match="was cancelled"):
        run.result(timeout=40)


def test_logs_are_followed_to_the_end(client, server, shared):
    run = client.start("waiting")
    lines = run.logs(follow=True)
    assert next(lines)["message"] == "waiting"
    shared.open()
    assert list(lines) == []
    assert run.state()["status"] == "succeeded"


def test_a_result_that_is_no_json_is_offered_as_a_file(client):
    run = client.start("values", {"kind": "large"})
    with pytest.raises(ServerError, match=rf"a large value: http://.*/runs/{run.id}/result.pickle"):
        run.result(timeout=40)


@pytest.mark.parametrize(
    ("ask", "status", "told"),
    [
        (lambda client: client.start("nosuch"), 404, "there is no flow 'nosuch'"),
        (lambda client: client.start("doubled", {"count": "x"}), 422, "whole number"),
        (lambda client: client.run("nope"), 404, "no run 'nope'"),
        (lambda client: client.start("picky", {"count": -1}), 422, "not below zero"),
    ],
)
def test_what_is_wrong_is_reported(client, ask, status, told):
    with pytest.raises(ServerError, match=told) as caught:
        ask(client)
    assert caught.value.status == status


def test_a_server_that_is_not_there():
    with pytest.raises(ServerError, match=r"http://127\.0\.0\.1:9 cannot be reached: .*refused"):
        Client("http://127.0.0.1:9").flows()
    with pytest.raises(DefinitionError, match="url must look like http:"):
        Client("localhost:8765")


def test_a_token_is_sent(place):
    place.write("flows.py")
    server = place.serve("flows.py", LOKKI_SERVER_TOKEN="open sesame")
    url = str(server.client.base_url)
    assert Client(url, token="open sesame").flows()
    with pytest.raises(ServerError, match="not accept this token: set the variable LOKKI_SER"):
        Client(url, token="another").flows()
    with pytest.raises(ServerError, match="needs a token: set the variable LOKKI_SERVER") as caught:
        Client(url).flows()
    assert caught.value.status == 401
