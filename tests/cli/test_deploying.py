"""deploy and destroy, as they are called: what they print and ask, and how they exit."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

ROOT = Path(__file__).parent.parent.parent
UV_CACHE = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def place(rehearsal, terminal, shared_build, monkeypatch):
    monkeypatch.setenv("UV_CACHE_DIR", UV_CACHE)
    shutil.copy(ROOT / "examples" / "birds.py", terminal)
    (terminal / "lokki.toml").write_text(
        f'[aws]\nendpoint = "{rehearsal.endpoint}"\nregion = "us-east-1"\n'
        f'artifact_bucket = "cli-{uuid4().hex[:8]}"\n[lambda]\npackage_type = "zip"\n'
    )
    return terminal


def test_deploy_shows_account_and_changes_and_destroy_what_goes(done):
    code, out, err = done("deploy", "birds.py", "--confirm")
    assert (code, out) == (
        0,
        "birds-flow is deployed: arn:aws:states:us-east-1:123456789012:stateMachine:birds-flow\n",
    )
    assert err.startswith("account 123456789012 at http://127.0.0.1:")
    assert re.search(r"^Add +StateMachine +AWS::StepFunctions::StateMachine$", err, re.M)
    assert "CREATE_COMPLETE  StateMachine\n" in err
    code, out, _ = done("birds.py", "deploy", "--confirm")
    assert (code, out.partition(":")[0]) == (0, "birds-flow is deployed already, and up to date")
    code, out, err = done("destroy", "birds.py", "--confirm", "--empty-bucket")
    assert (code, out) == (0, "birds-flow is not on AWS any more\n")
    assert "stack birds-flow: AWS::Logs::LogGroup /lokki/birds-flow\n" in err
    code, _, err = done("destroy", "birds.py", "--confirm")
    assert (code, err.splitlines()[-1]) == (0, "there is no stack 'birds-flow'")


def test_destroy_finds_the_stack_of_a_flow_by_itself(done):
    assert done("deploy", "birds.py", "--stack-name", "aviary", "--confirm")[0] == 0
    code, out, err = done("destroy", "birds.py", "--confirm", "--empty-bucket")
    assert (code, out) == (0, "birds-flow is not on AWS any more\n")
    assert "stack aviary: AWS::Logs::LogGroup /lokki/birds-flow\n" in err


def test_what_is_not_agreed_to_is_not_done(start):
    ours, theirs = pty.openpty()
    process = start("deploy", "birds.py", stdin=theirs)
    os.write(ours, b"n\n")
    out, err = process.communicate(timeout=60)
    os.close(theirs)
    os.close(ours)
    assert (process.returncode, out) == (1, "")
    assert err.endswith("Make these changes? [y/N]: Error: nothing is deployed\n")


@pytest.mark.parametrize("command", ["deploy", "destroy"])
def test_without_a_terminal_one_has_to_confirm_before(start, command):
    process = start(command, "birds.py", stdin=subprocess.DEVNULL)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.endswith("Error: there is no terminal to ask at: give --confirm\n")


def test_the_policy_of_a_deploy_is_printed_without_an_account(done, place):
    code, out, err = done("deploy", "birds.py", "--policy", "--endpoint", "http://127.0.0.1:9")
    statements = json.loads(out)["Statement"]
    assert (code, err) == (0, "")
    resources = {arn for each in statements for arn in each["Resource"]}
    assert "arn:aws:states:us-east-1:*:stateMachine:birds-flow" in resources
    _, out, _ = done("deploy", "birds.py", "--policy", "--stack-name", "aviary")
    assert "arn:aws:cloudformation:us-east-1:*:stack/aviary/*" in out
    (place / "lokki.toml").unlink()
    code, _, err = done("deploy", "birds.py", "--policy")
    assert (code, err[:49]) == (2, "Error: there is no bucket for results and package")


def test_without_a_bucket_the_error_says_where_to_set_it(done, place):
    (place / "lokki.toml").unlink()
    code, _, err = done("deploy", "birds.py", "--confirm")
    assert (code, err[:49]) == (2, "Error: there is no bucket for results and package")


def test_without_docker_an_image_is_refused_before_anything_is_made(
    done, rehearsal, monkeypatch, tmp_path
):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", rehearsal.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("LOKKI_ECR_REPO_PREFIX", "1.dkr.ecr.us-east-1.amazonaws.com")
    monkeypatch.setenv("LOKKI_LAMBDA_PACKAGE_TYPE", "image")
    code, out, err = done("deploy", "birds.py", "--confirm", "--endpoint", "")
    assert (code, out) == (1, "")
    assert err.endswith(
        "Error: the flow needs an image, but Docker is not installed: install it "
        '(https://docs.docker.com/get-docker), or set lambda.package_type to "zip"\n'
    )
