"""What a run runs with: its folder, its Python, its lokki, and the version of its code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from lokki.caching import code_digest
from lokki.engine.checkout import commit_of
from lokki.graph import FlowGraph
from lokki.store.runs import RunRecord


def surroundings(graph: FlowGraph[Any], file: str | None) -> dict[str, str]:
    """What is recorded with a run that starts or continues in this process.

    ``file`` is that of the flow, if there is one.
    """
    found = {
        "python": sys.executable,
        "prefix": sys.prefix,
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "lokki_version": sys.modules["lokki"].__version__,
        "code": code_digest(call.step.fn for call in graph.calls),
    }
    with suppress(OSError):  # the folder has been removed
        found["folder"] = os.getcwd()
    if file is not None and (commit := commit_of(file)) is not None:
        found["commit"] = commit
    return found


def other_python(run: RunRecord) -> str:
    """A sentence that names a run's Python and this one if they differ; otherwise empty."""
    if run.prefix in (None, sys.prefix):
        return ""
    return f"the run was started with {run.python or run.prefix}; this is {sys.executable}"
