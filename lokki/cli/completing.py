"""What may come next on a command line, for completion by shells.

click answers their scripts in its ``main``, which our commands do not use. No user code is
imported: the options of a flow are read from the text of its file.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lokki.decorators import Flow
from lokki.errors import LokkiError
from lokki.loading import from_here, source_and_name
from lokki.model.run import AWS, LOCAL
from lokki.model.run_filter import RunFilter

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    from lokki.backends.backend import Backend

VARIABLE = "_LOKKI_COMPLETE"
"""The variable that a shell's script sets."""
_MOST_RUNS = 200
"""How many of the newest runs are searched for ids."""


def runs(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """The ids of runs, the newest first."""
    from click.shell_completion import CompletionItem

    from lokki.logging import local
    from lokki.model.times import seconds

    found: list[CompletionItem[str]] = []
    with suppress(LokkiError), _backend(context) as backend:
        newest = backend.runs(RunFilter(flow=context.obj.flow, limit=_MOST_RUNS)).runs
        if newest:
            found.append(CompletionItem("last", help=f"the newest: {newest[0].id}"))
        for run in newest:
            at = local(seconds(run.created))
            found.append(CompletionItem(run.id, help=f"{run.flow}, {run.status}, {at}"))
    return [each for each in found if each.value.startswith(incomplete)]


def flow_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """The flows that have runs."""
    from click.shell_completion import CompletionItem

    with suppress(LokkiError), _backend(context) as backend:
        return [CompletionItem(each) for each in backend.flows() if each.startswith(incomplete)]
    return []


def targets(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Files, which the shell knows, and after a file's ``:`` its flows."""
    from click.shell_completion import CompletionItem

    source, _ = source_and_name(incomplete)
    if source == incomplete:
        return [CompletionItem(incomplete, type="file")]
    named = [(f"{source}:{flow.name}", flow.__doc__) for flow in _flows_in(source)]
    return [CompletionItem(name, help=doc) for name, doc in named if name.startswith(incomplete)]


@contextmanager
def _backend(context: click.Context) -> Iterator[Backend]:
    """The backend to search for runs; none on AWS, which would take too long."""
    from lokki.cli.backends import opened

    on = context.params.get("on") or LOCAL
    if on == AWS:
        raise LokkiError("not asked")
    with opened(on) as backend:
        yield backend


def flow_in_text(target: str) -> Flow[..., Any] | None:
    """The flow that a command line names, with only its name and parameters, if there is one."""
    source, name = source_and_name(from_here(target))
    found = [flow for flow in _flows_in(source) if name in ("", flow.name, flow.fn.__name__)]
    return found[0] if len(found) == 1 else None


def flow_of_run(name: str, flow: str | None) -> Flow[..., Any] | None:
    """The same for a run of this machine."""
    from lokki.backends.local import opened

    with suppress(LokkiError), opened() as backend:
        source = backend.find(name, flow).source
        return None if source is None else flow_in_text(source)
    return None


def _flows_in(file: str) -> list[Flow[..., Any]]:
    """The flows that the text of a file defines, without its code."""
    with suppress(OSError, SyntaxError, ValueError, LokkiError):
        body = ast.parse(Path(file).read_bytes()).body
        return [
            _outline(each) for each in body if isinstance(each, ast.FunctionDef) and _is_flow(each)
        ]
    return []


def _is_flow(function: ast.FunctionDef) -> bool:
    named = [each.func if isinstance(each, ast.Call) else each for each in function.decorator_list]
    return any(ast.unparse(each) in ("flow", "lokki.flow") for each in named)


def _outline(function: ast.FunctionDef) -> Flow[..., Any]:
    def body() -> Any:
        pass

    doc = (ast.get_docstring(function) or "").partition("\n")[0] or None
    vars(body).update(__signature__=inspect.Signature(list(_parameters(function.args))))
    body.__name__, body.__doc__ = function.name, doc
    return Flow(body)


def _parameters(given: ast.arguments) -> Iterator[inspect.Parameter]:
    """The parameters that are options: all but secrets."""
    for each in [*given.args, *given.kwonlyargs]:
        annotation = Any if each.annotation is None else ast.unparse(each.annotation)
        if "Secret" not in str(annotation):
            kind = inspect.Parameter.KEYWORD_ONLY
            yield inspect.Parameter(each.arg, kind, default=None, annotation=annotation)
