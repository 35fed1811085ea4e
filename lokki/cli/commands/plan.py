"""``plan``: estimates what a run on AWS uses and costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lokki.cli.command import Command
from lokki.cli.configuration import configured
from lokki.cli.graphs import asked_graph
from lokki.cli.parameters import options_of
from lokki.cli.program import Program
from lokki.cli.target import on_target
from lokki.decorators import Flow

_HELP = """Estimate what a run on AWS uses and costs.

Also names the limits that it approaches, and what to change; compares Step Functions with durable
functions, and other settings of its maps.
"""


def plan_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def plan(params: Path | None, items: int, seconds_per_item: float, **options: Any) -> None:
        from lokki.builder.estimate import estimate_of
        from lokki.builder.variants import Refused, Variant, variants_of
        from lokki.cli.render.plan import show_plan

        graph = asked_graph(flow, params, options, here=False, whole=False)
        asked = graph, configured(), items, seconds_per_item
        plan, others = estimate_of(*asked), tuple(variants_of(*asked))
        variants = [each for each in others if isinstance(each, Variant)]
        show_plan(plan, variants, [each for each in others if isinstance(each, Refused)])

    items = click.Option(
        ["--items"],
        type=click.IntRange(0),
        default=1_000,
        metavar="INT",
        help="Items of each map.  [default: 1000]",
    )
    seconds = click.Option(
        ["--seconds-per-item"],
        type=click.FloatRange(0),
        default=1.0,
        metavar="FLOAT",
        help="Seconds that each call takes.  [default: 1]",
    )
    parameters = options_of(flow, [items, seconds], whole=False)
    return Command("plan", params=parameters, callback=plan, help=_HELP)


command = on_target("plan", "birds.py --items 10000", _HELP, plan_command)
