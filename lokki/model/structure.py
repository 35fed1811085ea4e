"""The structure of a flow as data: its stages and their steps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Literal, TypeAlias

from lokki.model.base import Example, fields_of, model

StageKind: TypeAlias = Literal["task", "map"]


@model
class StageStructure:
    """A stage: a step that is called once, or a map, whose steps each item goes through."""

    name: Annotated[str, Example("crunch")]
    """the name of its first step"""
    kind: StageKind
    steps: list[str]

    def __str__(self) -> str:
        steps = " → ".join(self.steps)
        return steps if self.kind == "task" else f"map({steps})"


Structure: TypeAlias = list[StageStructure]


def stage(kind: StageKind, steps: Sequence[str]) -> StageStructure:
    """A stage of a kind with these steps, at least one."""
    return StageStructure(name=steps[0], kind=kind, steps=list(steps))


def text_of(structure: Iterable[StageStructure]) -> str:
    """A structure for people: ``get_birds → map(flap_bird) → join_birds``."""
    return " → ".join(map(str, structure))


def dumped(structure: Structure) -> str:
    """A structure as JSON."""
    return json.dumps(structure, default=fields_of, separators=(",", ":"))


def loaded(text: str) -> Structure:
    """The structure that `dumped` wrote. Raises ValueError."""
    return list(_loaded(text))


@lru_cache(maxsize=256)  # the runs of a list have few structures
def _loaded(text: str) -> tuple[StageStructure, ...]:
    return tuple(StageStructure(**each) for each in json.loads(text))


def unchanged(before: Structure, now: Structure) -> int:
    """How many of the first stages are the same in both."""
    count = 0
    for one, other in zip(before, now, strict=False):
        if one != other:
            break
        count += 1
    return count


# lokki 0.1 recorded only the text.

_STAGE = re.compile(r"map\([^)]*\)|[\w.-]+")
_STEP = re.compile(r"[\w.-]+")


def of_text(text: str) -> Structure:
    """The structure that lokki 0.1 recorded as a text."""
    return [
        stage("map" if inner != each else "task", _STEP.findall(inner))
        for each in _STAGE.findall(text)
        for inner in [each.removeprefix("map(")]
    ]
