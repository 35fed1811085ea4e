"""Adds to moto's grammar of Amazon States Language what only AWS knows.

A whole number as a percentage, and ``ItemBatcher``, which is kept aside for `maps`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lokki.rehearse.moto_patches.modules import asl

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_BATCHER = "lokki-batcher:"
"""How the comment of a map with a batcher begins; the map's own comment is unused."""


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
        if batcher := state.pop("ItemBatcher", None):
            processor["Comment"] = _BATCHER + json.dumps(batcher).encode().hex()
        if processor.get("ProcessorConfig", {}).get("ExecutionType") == "EXPRESS":
            processor["ProcessorConfig"]["ExecutionType"] = "STANDARD"
        _rewrite(processor)


def batcher_in(comment: str | None) -> dict[str, Any] | None:
    """The batcher that `parse` put into the comment of a map's processor."""
    if comment is None or not comment.startswith(_BATCHER):
        return None
    batcher: dict[str, Any] = json.loads(bytes.fromhex(comment.removeprefix(_BATCHER)))
    return batcher
