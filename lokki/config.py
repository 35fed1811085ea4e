"""Where things are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from lokki.errors import JournalError


def journal_path() -> Path:
    """The journal: ``LOKKI_LOCAL_JOURNAL``, or ``~/.lokki/lokki.db``. Raises as `local_path`."""
    named = os.environ.get("LOKKI_LOCAL_JOURNAL")
    return local_path(named or "~/.lokki/lokki.db", "LOKKI_LOCAL_JOURNAL")


def payloads_path(journal: Path) -> Path:
    """The directory of large payloads: ``LOKKI_LOCAL_PAYLOADS``, or beside the journal.

    Raises as `local_path`.
    """
    named = os.environ.get("LOKKI_LOCAL_PAYLOADS")
    return local_path(named, "LOKKI_LOCAL_PAYLOADS") if named else journal.parent / "payloads"


def local_path(path: str | os.PathLike[str], setting: str) -> Path:
    """The path that a setting gives, its ``~`` expanded.

    Raises JournalError, which names the setting, when nobody knows that home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise JournalError(
            f"{setting}: the home directory in '{os.fspath(path)}' is not known; "
            "write the path without '~'"
        ) from None
