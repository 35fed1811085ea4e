"""What lokki 0.1.0 has deployed is mirrored: see `tests/before`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from clouds import NAMES, Cloud, ended

from lokki.backends.blocking import opened
from lokki.loading import load_flow
from lokki.resumption import ResumeOptions

BEFORE = Path(__file__).parents[1] / "before"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def account(rehearsal, build_dir, tmp_path):
    """An account where the state machine of a flow is the one that lokki 0.1.0 has made of it."""
    file = tmp_path / "birds_before.py"  # `birds` is a module of other tests
    shutil.copy(BEFORE / "birds.py", file)
    cloud = Cloud(rehearsal.endpoint, build_dir, [])
    cloud.deploy(load_flow(f"{file}:birds"))
    client = cloud.client("stepfunctions")
    machines = client.list_state_machines()["stateMachines"]
    (arn,) = (each["stateMachineArn"] for each in machines if each["name"] == "birds")
    now = client.describe_state_machine(stateMachineArn=arn)["definition"]
    before = (BEFORE / "statemachine.json").read_text().replace("${S3Bucket}", cloud.bucket)
    for function, step in re.findall(r'"(arn:aws:lambda:[^"]*-(\w+)ZipFunction-\w+:\d+)"', now):
        before = before.replace(f"${{{step}Arn}}", function)
    client.update_state_machine(stateMachineArn=arn, definition=before)
    with opened(cloud.config()) as backend:
        yield backend
    cloud.destroy()


def test_its_runs_are_shown_and_resumed(account):
    assert "birds" in account.flows()
    run = ended(account, account.start("birds", f"before-{next(NAMES)}", {"count": 3}).id)
    assert (run.status, run.chain) == ("succeeded", "numbers → map(double → check) → total")
    assert [each.steps for each in run.structure] == [["numbers"], ["double", "check"], ["total"]]
    assert [(each.name, each.succeeded) for each in run.stages] == [
        ("numbers", 1), ("double", 3), ("total", 1),
    ]  # fmt: skip
    assert account.result(run.id) == 6
    planned = account.plan(run.id, ResumeOptions(from_stage="total"))
    again = ended(account, account.resume(planned, f"before-{next(NAMES)}").id)
    assert (again.id != run.id, account.result(again.id)) == (True, 6)

    run = ended(account, account.start("birds", f"before-{next(NAMES)}", {"count": 6}).id)
    assert (run.status, run.error.message) == ("failed", "8 is not right")
    planned = account.plan(run.id, ResumeOptions())
    assert ended(account, account.resume(planned, f"before-{next(NAMES)}").id).status == "failed"
