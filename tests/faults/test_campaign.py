"""The short form of the campaign of faults in ``bench``: real processes, both journals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CAMPAIGN = Path(__file__).parents[2] / "bench" / "campaign.py"
OPTIONS = "--quick --lane thread --fault engine --fault owner"


def test_runs_that_are_struck_end_as_if_nothing_had_happened():
    command = [sys.executable, str(CAMPAIGN), *OPTIONS.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    held = [tuple(row[:6]) for row in rows if row and row[-1] == "held"]
    assert held == [
        (journal, fault, "1", "0", "0", "0")
        for journal in ("sqlite", "postgres")
        for fault in ("engine", "owner")
    ]
