"""Every operation of the API, asked in many ways: no answer is another than OpenAPI tells."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

pytestmark = pytest.mark.timeout(180)
QUICK = settings(max_examples=50, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def known(server):
    """Parts of paths that lead to something."""
    run = server.ran("tolerant", count=14)
    server.ran("breaks")
    return {"run_id": run["id"], "name": "summed", "position": 1, "index": 3}


def operations(server):
    """All but the stream of all runs, which has no end."""
    api = schemathesis.openapi.from_url(f"{server.client.base_url}/openapi.json")
    found = [each.ok() for each in api.exclude(path="/events").get_all_operations()]
    assert len(found) >= 15
    return found


def test_any_request(server, known):
    for operation in operations(server):

        @QUICK
        @given(operation.as_strategy())
        def ask(case):
            case.call_and_validate(timeout=20)

        ask()


def test_requests_about_what_is_there(server, known):
    for operation in operations(server):

        @QUICK
        @given(operation.as_strategy())
        def ask(case):
            for name in case.path_parameters or ():
                case.path_parameters[name] = known[name]
            case.call_and_validate(timeout=20, excluded_checks=unsaid)

        # which parameters a flow takes is told by /flows/{name}
        starts = operation.path in ("/flows/{name}/runs", "/aws/flows/{name}/executions")
        unsaid = [positive_data_acceptance] if starts else []
        if "{" in operation.path:
            ask()


def test_the_answers_are_described(server):
    told = server.get("/openapi.json")
    paths = told["paths"]
    for path, operations in paths.items():
        for operation in operations.values():
            assert operation["description"] or operation["summary"], path
            if "{" in path:
                assert "404" in operation["responses"] or "/flows" in path, path
