"""Adds to moto's grammar of Amazon States Language what only AWS knows.

A whole number as a percentage; ``ItemBatcher`` and express children, which are kept aside for
`maps`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lokki.rehearse.moto_patches.modules import asl

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_ASIDE = "lokki-aside:"
"""How the comment of each map begins; the map's own comment is unused."""


def change(platform: Platform) -> None:
    parser = asl("parse.asl_parser").AmazonStateLanguageParser
    parse = parser.parse

    def parse_known(definition: str) -> Any:
        try:
            document = json.loads(definition)
        except ValueError:
            return parse(definition)
        _rewrite(document)
        return parse(json.dumps(document))

    parser.parse = staticmethod(parse_known)


def _rewrite(document: dict[str, Any]) -> None:
    for state in document.get("States", {}).values():
        if state.get("Type") != "Map":
            continue
        if "ToleratedFailurePercentage" in state:
            state["ToleratedFailurePercentage"] = float(state["ToleratedFailurePercentage"])
        processor = state["ItemProcessor"]
        config = processor.get("ProcessorConfig", {})
        aside = {
            "batcher": state.pop("ItemBatcher", None),
            "express": config.get("ExecutionType") == "EXPRESS",
        }
        if aside["express"]:
            config["ExecutionType"] = "STANDARD"
        processor["Comment"] = _ASIDE + json.dumps(aside).encode().hex()
        _rewrite(processor)


@dataclass(frozen=True)
class Aside:
    """What moto does not know of a map: its ``ItemBatcher``, whether its children are express."""

    batcher: dict[str, Any] | None = None
    express: bool = False


def aside_in(comment: str | None) -> Aside:
    """What `parse` put into the comment of a map's processor."""
    if comment is None or not comment.startswith(_ASIDE):
        return Aside()
    return Aside(**json.loads(bytes.fromhex(comment.removeprefix(_ASIDE))))
