"""Tags of runs that a server starts."""

from __future__ import annotations

import pytest
from serving import Place

from lokki import Client, DefinitionError, ServerError

TAGGED = """
from lokki import flow, step

@step
def one():
    return 1

@flow(tags=["etl"])
def tagged():
    return one()
"""


def test_a_run_has_the_tags_of_its_flow_and_those_asked_for(place: Place):
    place.write("tagged.py", TAGGED)
    server = place.serve("tagged.py", "--runners", "1")
    client = Client(str(server.client.base_url))

    def tags(**asked):
        return client.start("tagged", **asked).wait()["tags"]

    assert tags() == ["etl"]
    assert tags(tags=["nightly", "team=data"]) == ["etl", "nightly", "team=data"]
    first = client.start("tagged", key="mine", tags=["a", "b"])
    assert client.start("tagged", key="mine", tags=["b", "a"]).id == first.id
    with pytest.raises(ServerError, match="the key 'mine' was used"):
        client.start("tagged", key="mine", tags=["c"])
    with pytest.raises(DefinitionError, match="write tags="):
        client.start("tagged", tags="nightly")
    for wrong in ("nightly", ["two words"], [1], [str(number) for number in range(20)]):
        answer = server.client.post("/flows/tagged/runs", json={"tags": wrong})
        assert answer.status_code == 422, wrong
