"""The comment of a state machine, which records its flow."""

from __future__ import annotations

import json

from lokki.model import structure
from lokki.model.structure import Structure


def comment_of(flow: str, stages: Structure) -> str:
    """A flow's name and structure, as JSON."""
    return f'{{"flow":{json.dumps(flow)},"structure":{structure.dumped(stages)}}}'


def read_comment(text: str) -> tuple[str, Structure] | None:
    """What `comment_of` records; None for a comment that lokki did not write.

    lokki 0.1 wrote ``crunching: numbers → map(crunch) → total``.
    """
    try:
        read = json.loads(text)
        return read["flow"], structure.loaded(json.dumps(read["structure"]))
    except (ValueError, KeyError, TypeError):
        flow, colon, chain = text.partition(": ")
        return (flow, structure.of_text(chain)) if colon else None
