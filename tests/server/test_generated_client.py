"""A client that is generated from the OpenAPI document: it is typed, and does what ours does."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from serving import until

ROOT = Path(__file__).parents[2]
MODULES = {
    "flows": ["start_run"],
    "live": ["stream_run"],
    "runs": ["download_result", "get_result", "get_run", "list_runs"],
}


@pytest.fixture(scope="module")
def package(server, tmp_path_factory):
    """The folder of the package that is generated."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(server.get("/openapi.json")))
    (folder / "config.yml").write_text("post_hooks: []")
    command = [
        *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"),
        *("--path", "openapi.json", "--config", "config.yml"),
        *("--meta", "none", "--output-path", "lokki_client"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "lokki_client"


@pytest.fixture(scope="module")
def generated(package):
    """The package: its client, its models, and the modules of its operations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(package.parent)
        operations = {
            name: importlib.import_module(f"lokki_client.api.{tag}.{name}")
            for tag, names in MODULES.items()
            for name in names
        }
        models = importlib.import_module("lokki_client.models")
        client = importlib.import_module("lokki_client.client")
        yield SimpleNamespace(models=models, client=client, **operations)


@pytest.fixture
def client(generated, server):
    with generated.client.AuthenticatedClient(str(server.client.base_url), "none") as client:
        yield client


def start(generated, client, flow, **params):
    made = generated.models.RunRequestParams.from_dict(params)
    body = generated.models.RunRequest(params=made)
    return generated.start_run.sync(flow, client=client, body=body)


def ended(generated, client, run_id):
    def end():
        run = generated.get_run.sync(run_id, client=client)
        return run if run.finished else None

    return until(end, "the end of the run")


@pytest.fixture(scope="module")
def example(package, server):
    """The program of docs/service.md, for this server."""
    text = (ROOT / "docs" / "service.md").read_text()
    (block,) = re.findall(r"```py\n(from lokki_client .*?)```", text, re.DOTALL)
    file = package.parent / "example.py"
    file.write_text(block.replace("http://127.0.0.1:8765", str(server.client.base_url)))
    return file


def test_mypy_accepts_it(package, example):
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file="]
    done = subprocess.run(
        [*command, package.name, example.name], cwd=package.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_example_of_the_docs(generated, example, capsys):
    exec(example.read_text(), {})
    assert capsys.readouterr().out.startswith("there is no flow 'birds-flow'")


def test_a_run_is_started_and_followed_and_its_result_fetched(generated, client):
    run = start(generated, client, "summed", count=3)
    assert isinstance(run, generated.models.Run)
    assert run.params.to_dict() == {"count": 3}

    events = generated.stream_run.sync_detailed(run.id, client=client).content.decode()
    assert events.split("\n\n")[-2].startswith('event: end\ndata: {"status": "succeeded"}')
    run = generated.get_run.sync(run.id, client=client)
    assert run.status is generated.models.RunStatus.SUCCEEDED
    assert [(each.name, each.succeeded) for each in run.stages][1] == ("double", 3)
    assert run.id in [each.id for each in generated.list_runs.sync(client=client).runs]

    result = generated.get_result.sync(run.id, client=client)
    assert isinstance(result, generated.models.Result)
    assert result.result == 6
    file = generated.download_result.sync(run.id, client=client)
    assert file.payload.read(2) == b"\x1f\x8b"  # gzip


def test_the_error_of_a_run_that_failed(generated, client):
    run = ended(generated, client, start(generated, client, "breaks", count=9).id)
    assert run.status is generated.models.RunStatus.FAILED
    assert (run.error.type_, run.error.step, run.error.index) == ("KeyError", "broken", 8)
    assert [group.count for group in run.stages[1].failures] == [1]


def test_a_refusal_is_a_typed_problem(generated, client):
    def checked(answer, status):
        assert isinstance(answer, generated.models.ProblemDetails)
        assert answer.status == status
        return answer

    problem = checked(start(generated, client, "summed", count="three"), 422)
    assert problem.title == "The parameters are wrong"
    assert [error.name for error in problem.errors] == ["count"]
    problem = checked(generated.list_runs.sync(client=client, n=0), 422)
    assert [error.name for error in problem.errors] == ["query.n"]
    problem = checked(generated.get_run.sync("nosuch", client=client), 404)
    assert problem.title == "No such run"
