"""Where things are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def journal_path() -> Path:
    """The journal: ``LOKKI_LOCAL_JOURNAL``, or ``~/.lokki/lokki.db``."""
    return Path(os.environ.get("LOKKI_LOCAL_JOURNAL") or "~/.lokki/lokki.db").expanduser()


def payloads_path(journal: Path) -> Path:
    """The directory of large payloads: ``LOKKI_LOCAL_PAYLOADS``, or beside the journal."""
    named = os.environ.get("LOKKI_LOCAL_PAYLOADS")
    return Path(named).expanduser() if named else journal.parent / "payloads"
