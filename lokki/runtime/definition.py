"""The flow of this process: found in its module, and traced as it was at its build."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from lokki.errors import ConfigError, FingerprintError
from lokki.graph import FlowDefinition, FlowGraph
from lokki.model.structure import Structure, text_of
from lokki.runtime.event import MODULE


def definition(flow: str) -> FlowDefinition[..., Any]:
    """The flow of this name in the module that ``LOKKI_MODULE_NAME`` names.

    Raises ConfigError for a missing variable, or a module without the flow.
    """
    module = variable(MODULE)
    found = [each for each in vars(importlib.import_module(module)).values() if _is(each, flow)]
    if not found:
        raise ConfigError(f"module '{module}' ({MODULE}) has no flow '{flow}'")
    made: FlowDefinition[..., Any] = found[0]
    return made


def traced(
    flow: FlowDefinition[..., Any], structure: Structure, params: Mapping[str, Any]
) -> FlowGraph[Any]:
    """The graph of a run with these parameters.

    Raises FingerprintError if it has another structure than at its build.
    """
    graph = flow.trace(params)
    if graph.structure != structure:
        raise FingerprintError(
            f"flow '{graph.name}' has another structure with these parameters than at its "
            f"build: {graph.shape} instead of {text_of(structure)}; its structure must "
            "not depend on its parameters"
        )
    return graph


def variable(name: str) -> str:
    """The value of an environment variable. Raises ConfigError if it is missing or empty."""
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"the environment variable {name} is not set")
    return value


def _is(value: object, flow: str) -> bool:
    return isinstance(value, FlowDefinition) and value.name == flow
