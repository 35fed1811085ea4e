"""The chain of a run as text: ``a → map(b → c) → d``."""

from __future__ import annotations

import re

_STAGE = re.compile(r"map\([^)]*\)|[\w.-]+")
_NAME = re.compile(r"[\w.-]+")


def steps_of(chain: str) -> list[tuple[str, ...]]:
    """The names of the steps of each stage: of a map, those of its inner steps."""
    return [tuple(_NAME.findall(stage.removeprefix("map("))) for stage in _STAGE.findall(chain)]
