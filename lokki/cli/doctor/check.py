"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Check:
    """A subject, what was ``found`` of it, and what to do unless it is ok."""

    subject: str
    state: State
    found: str
    advice: str | None = None
