"""The backends that need no AWS, over one journal: see `conformance`."""

from __future__ import annotations

import pytest
from conformance import FLOW, FLOWS, OTHER, Conformance, World
from serving import Place, environment

from lokki.backends import local
from lokki.backends.combined import CombinedBackend
from lokki.backends.server import ServerBackend
from lokki.errors import AwsError


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with three runs, and their ids."""
    place = Place(tmp_path_factory.mktemp("conformance"))
    place.write("flows.py", FLOWS)
    with pytest.MonkeyPatch.context() as patch:
        environment(place.folder, patch)
        server = place.serve("flows.py", "--runners", "1")
        ids = [
            server.ran(flow, count=count)["id"]
            for flow, count in ((FLOW, 4), (FLOW, 2), (OTHER, 3))
        ]
        yield server, ids
        place.close()


@pytest.fixture(scope="module", params=["local", "server", "combined"])
def world(request, served):
    server, ids = served
    if request.param == "server":
        yield World(ServerBackend(str(server.client.base_url).rstrip("/")), ids)
        return
    with local.opened() as here:
        yield World(here if request.param == "local" else CombinedBackend(here, refused, str), ids)


def refused():
    raise AwsError("no credentials", "NoCredentials")


class TestConformance(Conformance):
    pass
