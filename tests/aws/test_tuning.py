"""Another concurrency for a map that runs on AWS, from the command line."""

from __future__ import annotations

import pytest
from clouds import begin, ended
from forking import AWS, done
from serving import until

from lokki.errors import NotTunable

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def tune(deployed, tmp_path, monkeypatch):
    """Runs `tune --on aws`; gives its exit code, stdout and stderr."""
    config = deployed.config()
    for name, value in {
        "HOME": str(tmp_path),
        "LOKKI_LOCAL_JOURNAL": str(tmp_path / "lokki.db"),
        "LOKKI_AWS_ENDPOINT": config.aws.endpoint,
        "LOKKI_AWS_REGION": "us-east-1",
        "LOKKI_ARTIFACT_BUCKET": config.aws.artifact_bucket,
    }.items():
        monkeypatch.setenv(name, value)

    def told(*words):
        process = done(["-m", "lokki", "tune", *words, "--on", "aws"], AWS)
        return process.returncode, process.stdout, process.stderr

    return told


def test_a_map_that_runs_gets_another_concurrency(place, tune, hold, tmp_path):
    marks = tmp_path / "marks"
    run_id = begin(place, "lingering", count=4, hold=str(hold), marks=str(marks))
    until(marks.exists, "a first item")
    assert tune(run_id, "--concurrency", "2") == (
        0, f"map 'linger' of run {run_id}: 2 at a time, not 1\n", "",
    )  # fmt: skip
    until(lambda: marks.read_text() == "xx", "a second item")
    tuned = place.tune(run_id, 1)
    assert (tuned.stage, tuned.concurrency, tuned.before) == ("linger", 1, 2)
    hold.unlink()
    assert ended(place, run_id).status == "succeeded"
    assert place.result(run_id) == [0, 1, 2, 3]
    code, out, err = tune(run_id, "--concurrency", "2")
    assert (code, out, err) == (1, "", f"Error: run {run_id} has ended: it is succeeded\n")


def test_a_run_without_a_map_that_runs_cannot_be_tuned(place, hold):
    run_id = begin(place, count=2, hold=str(hold))
    until(lambda: len(place.run(run_id).stages) == 3, "its last stage")
    with pytest.raises(NotTunable, match=f"no map of run {run_id} is running now"):
        place.tune(run_id, 5)
    hold.unlink()
    ended(place, run_id)
