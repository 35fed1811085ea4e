"""The folders of a user: ``~/.lokki``, or what the XDG variables name.

https://specifications.freedesktop.org/basedir-spec/latest/
"""

from __future__ import annotations

import os
from pathlib import Path

from lokki.config.schema import Local

STATE = "XDG_STATE_HOME"


def xdg(variable: str) -> str | None:
    """The folder that a variable names; None if it names none: the path must be absolute."""
    folder = os.environ.get(variable, "")
    return folder if os.path.isabs(folder) else None


def default_journal() -> str:
    """The journal where nothing is configured: one in ``~/.lokki`` goes on being used."""
    state = xdg(STATE)
    if state is None or exists(Local.journal):
        return Local.journal
    return os.path.join(state, "lokki", "lokki.db")


def exists(path: str) -> bool:
    """Whether there is such a file or folder, which may be named with ``~``."""
    try:
        return Path(path).expanduser().exists()
    except RuntimeError:  # no home directory
        return False
