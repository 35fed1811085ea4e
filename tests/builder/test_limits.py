"""Builds that AWS would refuse are refused here, with what to change."""

from __future__ import annotations

import json
import re

import pytest

from lokki import FlowGraph, step
from lokki.builder.limits import check_limits, json_text
from lokki.builder.states import state_machine
from lokki.builder.template import template
from lokki.config import load
from lokki.errors import BuildError, DefinitionError
from lokki.schedule import parse


@step
def begin():
    return 1


@step
def go_on(value):
    return value


def built(maps=1, **settings):
    """The documents of a flow of so many maps with 50 steps each."""
    chain = begin()
    for _ in range(maps):
        chain = chain.map(go_on)
        for _ in range(48):
            chain = chain.next(go_on)
        chain = chain.agg(go_on)
    config = load({"aws.artifact_bucket": "a-bucket", **settings})
    graph = FlowGraph("a-flow", chain.stages)
    made = template(graph, config, module="flows", python="3.13")
    return made, state_machine(graph, config)


def test_variables_of_4_kb_are_built_and_more_are_refused_by_the_longest():
    """https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html ."""
    check_limits(*built(**{"lambda.env": {"SHORT": "a", "LONG": "x" * 3_800}}))
    with pytest.raises(
        BuildError, match=r"has 4,\d\d\d bytes.* takes 4,096:.* LONG is the longest"
    ):
        check_limits(*built(**{"lambda.env": {"SHORT": "a", "LONG": "x" * 4_096}}))


def test_a_flow_of_more_resources_than_a_stack_has_is_refused():
    check_limits(*built(4))
    with pytest.raises(BuildError, match=r"needs 6\d\d resources, .* at most 500: split the flow"):
        check_limits(*built(6))


def test_documents_over_a_megabyte_are_refused_and_those_below_are_compact_if_need_be():
    made, _ = built(9)
    text = json_text(made)
    assert len(text) <= 1_000_000 < len(json.dumps(made.to_json(), indent=2))
    assert json.loads(text) == json.loads(json.dumps(made.to_json()))


@pytest.mark.parametrize(
    "expression",
    ["cron(* * * * * *)", "cron(0 9 * * NOT *)", "cron(71 9 * * ? *)", "cron(0 dummy * * ? *)"],
)
def test_schedules_that_aws_refuses_are_refused_where_they_are_written(expression):
    """As LocalStack recorded: scheduler, test_create_schedule_with_invalid_schedule_expression."""
    with pytest.raises(DefinitionError, match=re.escape(expression)):
        parse(expression)
