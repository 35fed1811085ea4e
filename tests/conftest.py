"""Fixtures for all tests: a journal of one's own, and hypothesis without surprises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pathlib import Path

settings.register_profile("lokki", derandomize=True, deadline=None)
settings.load_profile("lokki")


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal that everything in this test uses by default, child processes too."""
    path = tmp_path / "lokki" / "lokki.db"
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", str(path))
    monkeypatch.delenv("LOKKI_LOCAL_PAYLOADS", raising=False)
    return path
