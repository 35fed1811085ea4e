"""Adds to moto's grammar of Amazon States Language what only AWS knows.

A whole number as a percentage; ``ItemBatcher`` and express children, which are kept aside for
`maps`. A definition is parsed once, however many executions it has.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from antlr4 import PredictionMode

from lokki.rehearse.moto_patches.modules import asl

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_ASIDE = "lokki-aside:"
"""How the comment of each map begins; the map's own comment is unused."""


_parsing = asl("parse.asl_parser")


def change(platform: Platform) -> None:
    _parsing.AmazonStateLanguageParser.parse = staticmethod(_parse)


def _parse(definition: str) -> Any:
    with suppress(ValueError):
        document = json.loads(definition)
        _rewrite(document)
        definition = json.dumps(document, separators=(",", ":"))
    tree = _tree(definition)
    return _parsing.Preprocessor().visit(tree), tree


@lru_cache(maxsize=64)
def _tree(definition: str) -> Any:
    """The syntax of a definition; what the fast way of reading refuses, the slow one decides.

    https://www.antlr.org/api/Java/org/antlr/v4/runtime/atn/PredictionMode.html#SLL
    """
    quick, errors = _read(definition, PredictionMode.SLL)
    if not errors:
        return quick
    tree, errors = _read(definition, PredictionMode.LL)
    if errors:
        raise _parsing.ASLParserException(errors=errors)
    return tree


def _read(definition: str, mode: Any) -> tuple[Any, list[str]]:
    """The syntax of a definition, and what is wrong in it."""
    told = _parsing.SyntaxErrorListener()
    lexer = _parsing.ASLLexer(_parsing.InputStream(definition))
    parser = _parsing.ASLParser(_parsing.CommonTokenStream(lexer))
    parser._interp.predictionMode = mode
    parser.removeErrorListeners()
    parser.addErrorListener(told)
    return parser.state_machine(), told.errors


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
