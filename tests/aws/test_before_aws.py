"""What lokki 0.1.0 has deployed is mirrored, resumed, and deployed over: see `tests/before`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from clouds import NAMES, Cloud, ended

from lokki.backends.blocking import opened
from lokki.builder.builder import build
from lokki.loading import load_flow
from lokki.resumption import ResumeOptions

BEFORE = Path(__file__).parents[1] / "before"
PACKAGE = "birds/artifacts/lambdas/0a1b2c3d4e5f6789.zip"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def flow_of(tmp_path, hold):
    """A function that loads the flow of this source, whose first step waits for ``hold``."""

    def load(name, source):
        file = tmp_path / f"{name}.py"  # `birds` is a module of other tests
        waiting = f"while os.path.exists({str(hold)!r}):\n        time.sleep(0.02)\n    return list"
        file.write_text("import time\n" + source.replace("return list", waiting))
        return load_flow(f"{file}:birds")

    yield load
    for name in ("birds_before", "birds_after"):
        sys.modules.pop(name, None)


@pytest.fixture
def cloud(rehearsal, build_dir, flow_of):
    """The stack of a flow as lokki 0.1.0 has made it."""
    made = Cloud(rehearsal.endpoint, build_dir, [])
    made.flow = "birds"
    package = build(
        flow_of("birds_before", (BEFORE / "birds.py").read_text()).outline(), made.config()
    ).package
    s3 = made.client("s3")
    s3.create_bucket(Bucket=made.bucket)
    s3.put_object(Bucket=made.bucket, Key=PACKAGE, Body=package.file.read_bytes())
    template = (BEFORE / "template.json").read_text()
    python = f"python3.{sys.version_info.minor}"
    template = template.replace('"python3.11"', f'"{python}"')
    made.client("cloudformation").create_stack(
        StackName=made.name,
        TemplateBody=template.replace('NAME": "birds"', 'NAME": "birds_before"'),
        Parameters=[
            {"ParameterKey": "S3Bucket", "ParameterValue": made.bucket},
            {"ParameterKey": "PackageKey", "ParameterValue": PACKAGE},
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    yield made
    made.destroy()


def test_its_runs_are_shown_and_resumed_and_go_on_when_it_is_deployed_over(cloud, flow_of, hold):
    hold.unlink()
    with opened(cloud.config()) as account:
        assert "birds" in account.flows()
        run = ended(account, account.start("birds", f"before-{next(NAMES)}", {"count": 3}).id)
        assert (run.status, run.chain) == ("succeeded", "numbers → map(double → check) → total")
        assert [each.steps for each in run.structure] == [
            ["numbers"], ["double", "check"], ["total"],
        ]  # fmt: skip
        assert [(each.name, each.succeeded) for each in run.stages] == [
            ("numbers", 1), ("double", 3), ("total", 1),
        ]  # fmt: skip
        assert account.result(run.id) == 6
        planned = account.plan(run.id, ResumeOptions(from_stage="total"))
        again = ended(account, account.resume(planned, f"before-{next(NAMES)}").id)
        assert (again.id != run.id, account.result(again.id)) == (True, 6)

        failed = ended(account, account.start("birds", f"before-{next(NAMES)}", {"count": 6}).id)
        assert (failed.status, failed.error.message) == ("failed", "8 is not right")
        hold.touch()
        flying = account.start("birds", f"before-{next(NAMES)}", {"count": 3}).id
        after = (BEFORE / "birds.py").read_text().replace(".agg(total)", ".agg(total).next(double)")
        cloud.deploy(flow_of("birds_after", after))
        hold.unlink()
        assert (ended(account, flying).status, account.result(flying)) == ("succeeded", 6)
        new = account.start("birds", f"before-{next(NAMES)}", {"count": 3}).id
        assert (ended(account, new).status, account.result(new)) == ("succeeded", 12)
        planned = account.plan(failed.id, ResumeOptions())
        assert planned.redrives
        again = ended(account, account.resume(planned, f"before-{next(NAMES)}").id)
        assert (again.status, again.error.message) == ("failed", "8 is not right")
