"""Fixtures for all tests: a journal of one's own, and hypothesis without surprises."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pathlib import Path

settings.register_profile("lokki", derandomize=True, deadline=None)
settings.load_profile("lokki")


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal that everything in this test uses by default, child processes too.

    No other setting of whoever runs the tests is seen: neither a variable nor a file in their home.
    """
    path = tmp_path / "lokki" / "lokki.db"
    for name in [name for name in os.environ if name.startswith("LOKKI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", str(path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return path
