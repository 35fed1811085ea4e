"""What a deploy keeps of earlier ones, as long as an execution may use it.

An execution keeps the definition and role that it started with, also when it is redriven
(https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html). The definition names
versions of functions and revisions of job definitions: they stay in the template, with all that
they refer to, until no execution that runs or may be redriven names them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lokki.aws import stack
from lokki.aws.account import PAGE, Account
from lokki.aws.durable_functions import DurableFunctions
from lokki.aws.observation import GONE
from lokki.builder.limits import MOST_RESOURCES
from lokki.builder.references import closure, references
from lokki.builder.template import literal
from lokki.errors import AwsError

REDRIVABLE = timedelta(days=14)
"""How long after its end an execution can be redriven."""
_SETTLED = timedelta(seconds=30)
"""How long after an update an execution may still start with the definition before it
(https://docs.aws.amazon.com/step-functions/latest/apireference/API_UpdateStateMachine.html)."""
_POLICIES = ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
_ENDED = ("FAILED", "TIMED_OUT", "ABORTED")


@dataclass(slots=True)
class InUse:
    """A definition and its role, deployed ``at`` some time; ``must``: executions run with it."""

    definition: str
    role: str
    at: datetime
    must: bool

    def names(self, physical: str) -> bool:
        """Whether it names a resource, by its ARN or the name in it."""
        ends = (f":function:{physical}", f"/{physical}")
        every = (self.role, *_texts(json.loads(self.definition)))
        return any(text == physical or text.endswith(ends) for text in every)


async def kept(
    account: Account, before: stack.Stack, new: Mapping[str, Any], tell: stack.Tell
) -> dict[str, Any]:
    """The resources of a stack that stay besides the ``new`` ones.

    Raises AwsError if a stack has no room for what executions are running with.
    """
    runner = before.runner
    if runner is None:
        return {}
    old = literal(await stack.template(account, before.name), before.parameters)
    physical = {each.logical: each.physical for each in await stack.resources(account, before.name)}
    in_use = _durable_in_use if before.is_durable else _in_use
    found, dropped = chosen(old, new, physical, await in_use(account, runner))
    for each in dropped:
        tell(
            f"failed runs of the deploy of {each.at:%Y-%m-%d %H:%M} UTC cannot be resumed any more:"
            f" a stack has at most {MOST_RESOURCES} resources"
        )
    return found


def chosen(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    physical: Mapping[str, str],
    in_use: Sequence[InUse],
) -> tuple[dict[str, Any], list[InUse]]:
    """What of ``old`` stays, and the deploys for which there is no room.

    Those that executions are running with come first, then the newest. Raises AwsError if there is
    no room for what is running.
    """
    found: dict[str, Any] = {}
    dropped = []
    for each in sorted(in_use, key=lambda use: (use.must, use.at), reverse=True):
        roots = {name for name in old if each.names(physical.get(name, name))}
        wanted = _with_policies(old, roots) - new.keys() - found.keys()
        if len(new) + len(found) + len(wanted) <= MOST_RESOURCES:
            found |= {name: old[name] for name in sorted(wanted)}
        elif each.must:
            raise AwsError(
                f"the stack would have more than {MOST_RESOURCES} resources, with those that runs "
                "of earlier deploys are using: wait for their end, or cancel them"
            )
        else:
            dropped.append(each)
    return found, dropped


def _with_policies(resources: Mapping[str, Any], roots: set[str]) -> set[str]:
    """What these resources refer to, and the policies of their roles."""
    needed = closure(resources, roots)
    policies = {
        name
        for name, each in resources.items()
        if each["Type"] in _POLICIES and references(each["Properties"]["Roles"]) & needed
    }
    return closure(resources, needed | policies)


async def _in_use(account: Account, machine: str) -> list[InUse]:
    """The definition that is deployed, and those of executions that run or may be redriven.

    Executions that started after an update of the machine, and before one that has its definition,
    have it, too: it is asked for about once for each deploy.
    """
    try:
        now = await account.ask("stepfunctions", "describe_state_machine", stateMachineArn=machine)
        executions = [each async for each in _executions(account, machine)]
    except AwsError as error:
        if error.code not in GONE:
            raise
        return []
    found = {now["definition"]: InUse(now["definition"], now["roleArn"], _now(), must=True)}
    last: InUse | None = None
    for each in sorted(executions, key=lambda execution: execution["startDate"], reverse=True):
        if last is None or each["startDate"] < last.at + _SETTLED:
            last = await _used(account, each["executionArn"]) or last
        if last is not None:
            use = found.setdefault(last.definition, last)
            use.must |= each["status"] == "RUNNING"
    return list(found.values())


async def _durable_in_use(account: Account, alias: str) -> list[InUse]:
    """The versions of a durable function that executions are running with, and the one deployed.

    A version refers to all that its executions use. None is started again once it has ended.
    """
    function = alias.rpartition(":")[0]
    try:
        versions = await DurableFunctions(account).running_versions(function.split(":")[6])
    except AwsError as error:
        if error.code not in GONE:
            raise
        return []
    return [
        InUse(json.dumps({"version": f"{function}:{each}"}), "", _now(), must=True)
        for each in sorted(versions)
    ]


async def _executions(account: Account, machine: str) -> AsyncIterator[Any]:
    """The executions of a machine that run, or may be redriven."""
    since = _now() - REDRIVABLE
    for status in ("RUNNING", *_ENDED):
        pages = account.pages(
            "stepfunctions",
            "list_executions",
            stateMachineArn=machine,
            statusFilter=status,
            PaginationConfig={"PageSize": PAGE},
        )
        async with aclosing(pages):
            async for page in pages:
                for each in page["executions"]:
                    if status == "RUNNING" or each["stopDate"] >= since:
                        yield each


async def _used(account: Account, execution: str) -> InUse | None:
    """What an execution uses, unless it is gone."""
    try:
        answer = await account.ask(
            "stepfunctions", "describe_state_machine_for_execution", executionArn=execution
        )
    except AwsError as error:
        if error.code not in GONE:
            raise
        return None
    return InUse(answer["definition"], answer["roleArn"], answer["updateDate"], must=False)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _now() -> datetime:
    return datetime.now(UTC)
