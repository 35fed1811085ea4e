"""The graph of a command's flow, made by the flow's own body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from lokki.cli.parameters import parameters_from
from lokki.cli.render.words import as_options
from lokki.cli.streams import stdout_to_stderr
from lokki.decorators import Flow
from lokki.errors import LokkiError
from lokki.graph import FlowGraph
from lokki.loading import LoadError, users_traceback
from lokki.wording import said


def asked_graph(
    flow: Flow[..., Any],
    file: Path | None,
    options: dict[str, Any],
    *,
    here: bool,
    whole: bool = True,
    like: Mapping[str, Any] | None = None,
) -> FlowGraph[Any]:
    """The graph of a flow with the parameters of a command line, from `parameters_from`.

    Raises UsageError for wrong parameters.
    """
    try:
        with stdout_to_stderr():
            given = parameters_from(flow, file, options, here=here, whole=whole, like=like)
        return traced(flow, lambda: flow.trace({}, checked=given) if here else flow.outline(given))
    except LoadError:
        raise
    except LokkiError as error:
        raise click.UsageError(error.said(as_options)) from error


def traced(flow: Flow[..., Any], trace: Callable[[], FlowGraph[Any]]) -> FlowGraph[Any]:
    """The graph that ``trace`` returns. Raises LoadError when the flow's body fails."""
    try:
        with stdout_to_stderr():
            return trace()
    except LokkiError:
        raise
    except Exception as error:
        if notes := getattr(error, "__notes__", ()):
            error.__notes__ = [said(note, as_options) for note in notes]
        raise LoadError(f"the body of flow '{flow.name}' failed", users_traceback(error)) from error
