"""Starts and resumes runs on AWS."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lokki.cli.options import again_from, config_from
from lokki.cli.program import Program
from lokki.config import Config
from lokki.model.run import AWS
from lokki.tags import run_tags
from lokki.wording import said

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from lokki.cli.execute import Handle
    from lokki.cli.render.report import LineReport
    from lokki.graph import FlowGraph


def resume_on_aws(name: str, program: Program, options: dict[str, Any]) -> int:
    """Resume a run on AWS with the deployed code; the exit code."""
    from lokki.backends.changes import kept
    from lokki.backends.opening import opened_aws
    from lokki.cli.execute import Start, execute
    from lokki.cli.follow import followed
    from lokki.cli.render.report import Outline
    from lokki.cli.render.words import as_options
    from lokki.engine.engine import new_run_id

    config, again, dry_run = config_from(options), again_from(options), options.pop("dry_run")
    with opened_aws(config) as backend:
        run_id = backend.find(name, program.flow).id
        planned = backend.plan(run_id, again)
        summary = [said(line, as_options) for line in planned.summary]
        if dry_run:
            click.echo("\n".join(summary))
            return 0

        def begin(report: LineReport) -> AbstractAsyncContextManager[Handle]:
            if planned.redrives:
                resume = partial(backend.resume, planned, run_id)
                return followed(backend, resume, kept(planned.run), report, backend.result)
            if planned.new:
                resume = partial(backend.resume, planned, new_run_id())
                return followed(backend, resume, None, report, backend.result)
            return followed(backend, lambda: planned.run, planned.run, report, backend.result)

        stages = [Outline(each.name, each.label is not None) for each in planned.stages]
        return execute(Start(begin, stages, program.at(AWS), summary), config)


def invoked(
    graph: FlowGraph[Any],
    config: Config,
    program: Program,
    run_id: str | None,
    tags: Sequence[str],
    *,
    no_cache: bool,
    wait: bool,
) -> int:
    """Start a run on AWS and, with ``wait``, follow it to its end; the exit code."""
    from lokki.backends.opening import opened_aws
    from lokki.cli.execute import Start, execute
    from lokki.cli.follow import followed
    from lokki.cli.render.report import outlines
    from lokki.engine.engine import new_run_id
    from lokki.runtime.event import in_trace

    assert graph.flow is not None
    given, name = graph.flow.parameters.given(graph.params), run_id or new_run_id()
    given |= in_trace(os.environ.get("TRACEPARENT"))
    with opened_aws(config) as backend:
        all_tags = run_tags(graph.flow.tags, tags)
        start = partial(backend.start, graph.name, name, given, all_tags, no_cache=no_cache)
        if not wait:
            click.echo(start().id)
            watch = program.at(AWS).command("show", name, "--watch")
            click.echo(f"it runs in {backend.name}; watch: {watch}", err=True)
            return 0

        def begin(report: LineReport) -> AbstractAsyncContextManager[Handle]:
            return followed(backend, start, None, report, backend.result)

        return execute(Start(begin, outlines(graph), program.at(AWS)), config)
