"""What surrounds a run besides its code: its folder, its Python and its lokki."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from lokki.store.runs import RunRecord


def surroundings() -> dict[str, str]:
    """The folder, Python and lokki of this process, recorded with a run that starts here."""
    found = {
        "python": sys.executable,
        "prefix": sys.prefix,
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "lokki_version": sys.modules["lokki"].__version__,
    }
    with suppress(OSError):  # the folder has been removed
        found["folder"] = os.getcwd()
    return found


def other_python(run: RunRecord) -> str:
    """A sentence that names a run's Python and this one if they differ; otherwise empty."""
    if run.prefix in (None, sys.prefix):
        return ""
    return f"the run was started with {run.python or run.prefix}; this is {sys.executable}"
