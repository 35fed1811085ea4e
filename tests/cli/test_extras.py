"""Commands whose extra is not installed: each says what to install, and how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BIRDS = str(Path(__file__).parents[2] / "examples" / "birds.py")
WITHOUT = """
import runpy, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(","), None))
module = sys.argv[2]
sys.argv[:] = sys.argv[2:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def told(missing: str, module: str, *arguments: str) -> str:
    """What a module tells where a package is missing, beside that it has failed."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, missing, module, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("deploy", BIRDS, "--confirm"),
        ("invoke", BIRDS),
        ("run", BIRDS, "--on", "aws"),
        ("destroy", BIRDS, "--confirm"),
        ("runs", "--on", "aws"),
        ("pull", "last", BIRDS),
        ("push", "last"),
    ],
    ids=lambda words: words[0],
)
def test_what_runs_on_aws_needs_its_extra(command):
    assert told("aiobotocore", "lokki", *command) == (
        "Error: AWS needs missing packages: pip install 'lokki-engine[aws]'\n"
    )


@pytest.mark.parametrize("missing", ["aiobotocore", "moto", "flask"])
@pytest.mark.parametrize(
    "words",
    [("lokki", "rehearse", BIRDS), ("lokki.rehearse", "--port", "0")],
    ids=lambda words: words[0],
)
def test_a_rehearsal_needs_its_extra(words, missing):
    assert told(missing, *words) == (
        "Error: a rehearsal needs missing packages: pip install 'lokki-engine[rehearse]'\n"
    )


def test_large_results_in_s3_need_the_extra_of_aws(monkeypatch):
    monkeypatch.setenv("LOKKI_LOCAL_PAYLOADS", "s3://bucket/prefix")
    assert told("aiobotocore", "lokki", "run", BIRDS) == (
        "Error: local.payloads: 's3://bucket/prefix' needs S3: pip install 'lokki-engine[aws]'\n"
    )
