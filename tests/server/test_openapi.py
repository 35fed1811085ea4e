"""Every operation of the API, asked in many ways: no answer is another than OpenAPI tells."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

pytestmark = pytest.mark.timeout(180)
QUICK = settings(max_examples=20, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def known(server):
    """Parts of paths that lead to something."""
    run = server.ran("tolerant", count=14)
    broken = server.ran("breaks")
    return {
        "run_id": run["id"],
        "other": broken["id"],
        "name": "summed",
        "position": 1,
        "index": 3,
        "attachment": "numbers.-.1.0",
    }


def operations(server):
    """All but the stream of all runs, which has no end."""
    api = schemathesis.openapi.from_url(f"{server.client.base_url}/openapi.json")
    found = [each.ok() for each in api.exclude(path="/events").get_all_operations()]
    assert len(found) >= 15
    return found


def is_described(answer, operation):
    """By its own code: `default` is for what nobody has thought of."""
    assert str(answer.status_code) in operation.responses.status_codes, answer.text


def test_any_request(server, known):
    for operation in operations(server):

        @QUICK
        @given(operation.as_strategy())
        def ask(case):
            is_described(case.call_and_validate(timeout=20), operation)

        ask()


def test_requests_about_what_is_there(server, known):
    for operation in operations(server):

        @QUICK
        @given(operation.as_strategy())
        def ask(case):
            for name in case.path_parameters or ():
                case.path_parameters[name] = known[name]
            answer = case.call_and_validate(timeout=20, excluded_checks=unsaid)
            is_described(answer, operation)

        # which parameters a flow takes is told by /flows/{name}
        starts = operation.path in ("/flows/{name}/runs", "/aws/flows/{name}/executions")
        unsaid = [positive_data_acceptance] if starts else []
        if "{" in operation.path:
            ask()


def described(server):
    """Each operation that is described: its path and description."""
    paths = server.get("/openapi.json")["paths"]
    return [(path, each) for path, methods in paths.items() for each in methods.values()]


def test_operations_are_named_as_functions_of_a_client(server):
    names = [operation["operationId"] for _, operation in described(server)]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch("[a-z]+([A-Z][a-z]+)*", name)] == []
    assert {
        *("startRun", "listRuns", "getRun", "cancelRun", "planResume", "resumeRun", "streamRun"),
        *("getResult", "listItems", "getItem", "getStrip", "listLogs", "listFlows", "getFlow"),
        *("listSchedules", "startExecution", "listExecutions", "getExecution", "getHealth"),
    } <= set(names)


def test_a_run_on_aws_has_the_routes_of_any_run(server):
    def below(prefix):
        return {
            (path.removeprefix(prefix), method)
            for path, methods in server.get("/openapi.json")["paths"].items()
            for method in methods
            if path.startswith(prefix)
        }

    routes = below("/runs/{run_id}")
    assert {("", "get"), ("/cancel", "post"), ("/result.pickle", "get")} < routes
    assert below("/aws/flows/{name}/executions/{run_id}") == routes


def test_the_answers_are_described(server):
    for path, operation in described(server):
        assert operation["description"], path
        if "{" in path:
            assert "404" in operation["responses"], path


def test_every_refusal_is_a_problem(server):
    for path, operation in described(server):
        refusals = {
            code: answer for code, answer in operation["responses"].items() if code[0] != "2"
        }
        assert {"401", "422", "503", "default"} <= refusals.keys()
        for code, answer in refusals.items():
            problem = "NotReady" if (path, code) == ("/readyz", "503") else "ProblemDetails"
            schema = {"$ref": f"#/components/schemas/{problem}"}
            assert answer["content"] == {"application/problem+json": {"schema": schema}}
    schemas = server.get("/openapi.json")["components"]["schemas"]
    assert {"ProblemDetails", "NotReady"} <= schemas.keys()
    assert "HTTPValidationError" not in schemas


FIRST = """
import time
from starlette.testclient import TestClient
from lokki.config import load
from lokki_server.app import create_app

imported = time.process_time()
client = TestClient(create_app(load()), base_url="http://127.0.0.1")
assert client.get("/nowhere").status_code == 404
answered = time.process_time()
print((answered - imported) / imported)
"""


def test_the_first_answer_takes_little_beside_the_imports():
    told = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    assert float(told.stdout) < 0.2
