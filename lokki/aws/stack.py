"""A CloudFormation stack: the changes of a template, making them, and its deletion."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import anyio

from lokki.aws.account import Account
from lokki.aws.loglines import log_group
from lokki.builder.template import DEPLOYMENT, DURABLE_FUNCTION
from lokki.config import Aws
from lokki.errors import AwsError

Tell = Callable[[str], None]
"""Receives messages about progress."""

_LOOK_SECONDS = 2.0
_LOOK_SECONDS_EMULATED = 0.1
_NEVER_WORKED = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")
"""Stacks that can only be deleted; nothing in them has ever run, or will run again."""
_STACK = "AWS::CloudFormation::Stack"
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
_OVERTAKEN = ("InvalidChangeSetStatus", "ChangeSetNotFound")
_MADE_MEANWHILE = "already exists and cannot be created again"
_NAME_TAKEN = "NAME_CONFLICT_VALIDATION"
_SAID_TWICE = "Resource creation Initiated"
"""The reason of the second of two events that say the same."""
_MAY_MAKE_ROLES = "CAPABILITY_IAM"
_NOT_THERE = "does not exist"
_NO_REASON = "AWS reports no reason"


@dataclass(frozen=True, slots=True)
class Stack:
    """The state of a stack; ``outputs`` and ``parameters`` by name."""

    name: str
    status: str
    reason: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]

    @property
    def is_busy(self) -> bool:
        """Whether it is being changed."""
        return self.status.endswith("_IN_PROGRESS") and not self.is_empty

    @property
    def runner(self) -> str | None:
        """The ARN of what runs its flow: a state machine, or the alias of a durable function."""
        return self.outputs.get(DURABLE_FUNCTION) or self.outputs.get("StateMachineArn")

    @property
    def is_durable(self) -> bool:
        return DURABLE_FUNCTION in self.outputs

    @property
    def is_empty(self) -> bool:
        """Whether it is only a name, with changes that were not accepted."""
        return self.status == "REVIEW_IN_PROGRESS"


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to a resource: Add, Modify or Remove; ``replaced``: with a new one."""

    action: str
    resource: str
    kind: str
    replaced: bool


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Changes to a stack that AWS has computed but not made."""

    stack: str
    arn: str
    creates: bool
    changes: tuple[Change, ...]


async def find(account: Account, name: str) -> Stack | None:
    """The stack of this name, if there is one. Raises AwsError."""
    try:
        answer = await account.ask("cloudformation", "describe_stacks", StackName=name)
    except AwsError as error:
        if error.code == "ValidationError" and _NOT_THERE in str(error):
            return None
        raise
    stack = answer["Stacks"][0]
    if stack["StackStatus"] == "DELETE_COMPLETE":
        return None
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}
    parameters = {
        each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", ())
    }
    reason = stack.get("StackStatusReason", "")
    return Stack(name, stack["StackStatus"], reason, outputs, parameters)


@dataclass(frozen=True, slots=True)
class DeployedFlow:
    """A flow, and the stack that has it; ``is_durable``: as a durable function."""

    flow: str
    stack: str
    is_durable: bool


async def deployed(account: Account, settings: Aws) -> list[DeployedFlow]:
    """The flows of a deployment: those whose stack has what runs them, and its log group."""
    found = []
    pages = account.pages("cloudformation", "describe_stacks")
    async with aclosing(pages):
        async for page in pages:
            for described in page["Stacks"]:
                outputs = {
                    each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", ())
                }
                function = outputs.get(DURABLE_FUNCTION)
                name = _name_in(function or outputs.get("StateMachineArn", ""))
                within = outputs.get(DEPLOYMENT) == settings.deployment
                if within and outputs.get("LogGroup") == log_group(name):
                    flow = name.removesuffix(settings.deployed_name(""))
                    is_durable = function is not None
                    found.append(DeployedFlow(flow, described["StackName"], is_durable))
    return sorted(found, key=lambda each: each.flow)


def _name_in(arn: str) -> str:
    """The name of a state machine, or of a durable function, in its ARN."""
    parts = arn.split(":")
    return parts[6] if len(parts) > 6 else ""


async def of_flow(account: Account, flow: str, settings: Aws) -> DeployedFlow:
    """A flow with its stack: that of the flow's name, unless another one has the flow."""
    own = settings.deployed_name(flow)
    if (there := await find(account, own)) is not None:
        return DeployedFlow(flow, own, there.is_durable)
    found = await deployed(account, settings)
    none = DeployedFlow(flow, own, is_durable=False)
    return next((each for each in found if each.flow == flow), none)


def refuse_busy(stack: Stack) -> None:
    """Raise AwsError for a stack that somebody is changing."""
    if stack.is_busy:
        raise AwsError(
            f"stack '{stack.name}' is {stack.status}: another deploy or destroy is running; "
            "wait for its end, and try again"
        )


async def made_ready(account: Account, name: str, tell: Tell) -> Stack | None:
    """The stack, if there is one to update; deletes one that never worked.

    Raises AwsError for one that somebody else is changing or has to fix.
    """
    stack = await find(account, name)
    if stack is None or stack.is_empty:
        return None
    refuse_busy(stack)
    if stack.status in _NEVER_WORKED:
        tell(f"stack {name} is {stack.status}: deleting the rest of it")
        await delete(account, name, tell)
        return None
    if stack.status == "UPDATE_ROLLBACK_FAILED":
        raise AwsError(
            f"stack '{name}' is UPDATE_ROLLBACK_FAILED ({stack.reason or _NO_REASON}): "
            "fix what it names, run `aws cloudformation continue-update-rollback --stack-name "
            f"{name}`, and deploy again"
        )
    return stack


async def changes(
    account: Account, stack: Stack | None, name: str, template: str, parameters: Mapping[str, str]
) -> ChangeSet | None:
    """What a template at a URL would change in a stack; None if nothing.

    Raises AwsError for a template that AWS refuses, or a stack that is being changed.
    """
    try:
        made = await account.ask(
            "cloudformation",
            "create_change_set",
            StackName=name,
            ChangeSetName=f"lokki-{uuid4().hex[:12]}",
            ChangeSetType="CREATE" if stack is None else "UPDATE",
            TemplateURL=template,
            Capabilities=[_MAY_MAKE_ROLES],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
        )
    except AwsError as error:
        if any(each in str(error) for each in _NO_CHANGES):
            return None
        if _MADE_MEANWHILE in str(error):
            raise _overtaken(name, error) from error
        raise
    arn: str = made["Id"]
    while True:
        answer = await account.ask("cloudformation", "describe_change_set", ChangeSetName=arn)
        if answer["Status"] == "CREATE_COMPLETE":
            break
        if answer["Status"] == "FAILED":
            reason = answer.get("StatusReason", "")
            same = any(each in reason for each in _NO_CHANGES)
            why = "" if same else await _refusal(account, arn, reason)
            await account.ask("cloudformation", "delete_change_set", ChangeSetName=arn)
            if same:
                return None
            raise AwsError(f"stack '{name}' cannot be changed: {why}")
        await anyio.sleep(_pause(account))
    found = [
        _change(each)
        async for page in account.pages("cloudformation", "describe_change_set", ChangeSetName=arn)
        for each in page["Changes"]
    ]
    return ChangeSet(name, arn, stack is None, tuple(found))


async def _refusal(account: Account, change_set: str, reason: str) -> str:
    """Why AWS refuses changes that it has checked; ``reason`` names the kind of check alone.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/validate-stack-deployments.html
    """
    try:
        answer = await account.ask(
            "cloudformation",
            "describe_events",
            ChangeSetName=change_set,
            Filters={"FailedEvents": True},
        )
    except AwsError as error:
        return f"{reason} ({error})"
    refused = [
        each
        for each in answer["OperationEvents"]
        if each.get("EventType") == "VALIDATION_ERROR" and each.get("ValidationStatus") == "FAILED"
    ]
    told = "; ".join(
        f"{each.get('LogicalResourceId', '')}: {each.get('ValidationStatusReason', '')}"
        for each in refused
    )
    if any(each.get("ValidationName") == _NAME_TAKEN for each in refused):
        told += " Delete what is there, or give this deployment a name of its own (aws.deployment)"
    return told or reason


async def make(account: Account, change_set: ChangeSet, tell: Tell) -> Stack:
    """Make the changes, and report events until the end. Raises AwsError if they fail."""
    last = await _last_event(account, change_set.stack)
    try:
        await account.ask("cloudformation", "execute_change_set", ChangeSetName=change_set.arn)
    except AwsError as error:
        if error.code not in _OVERTAKEN:
            raise
        raise _overtaken(change_set.stack, error) from error
    stack, failed = await _followed(account, change_set.stack, last, tell)
    if stack is None or stack.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        status = stack.status if stack else "gone"
        first = failed or (stack.reason if stack else "") or _NO_REASON
        raise AwsError(
            f"stack '{change_set.stack}' is {status}: {first}. Fix it and deploy again"
            + ("; that deletes the rest of this one" if change_set.creates else "")
        )
    return stack


def _overtaken(name: str, error: AwsError) -> AwsError:
    return AwsError(
        f"another deploy has changed stack '{name}' meanwhile ({error}): wait for its end, and "
        "try again",
        error.code,
    )


async def withdraw(account: Account, change_set: ChangeSet) -> None:
    """Discard rejected changes, and a stack that they would have made."""
    await account.ask("cloudformation", "delete_change_set", ChangeSetName=change_set.arn)
    if change_set.creates:
        await account.ask("cloudformation", "delete_stack", StackName=change_set.stack)


async def delete(account: Account, name: str, tell: Tell) -> None:
    """Delete a stack, and report events until it is gone. Raises AwsError if it stays."""
    last = await _last_event(account, name)
    await account.ask("cloudformation", "delete_stack", StackName=name)
    stack, failed = await _followed(account, name, last, tell)
    if stack is not None:
        raise AwsError(
            f"stack '{name}' is {stack.status}: {failed or stack.reason or _NO_REASON}. "
            "Remove what it names, and try again"
        )


async def template(account: Account, name: str) -> Mapping[str, Any]:
    """The template of a stack that lokki has made."""
    body = (await account.ask("cloudformation", "get_template", StackName=name))["TemplateBody"]
    read: Mapping[str, Any] = json.loads(body) if isinstance(body, str) else body
    return read


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of a stack: its type, and its names in the template and on AWS."""

    kind: str
    logical: str
    physical: str


async def resources(account: Account, name: str) -> list[Resource]:
    """The resources of a stack."""
    return [
        Resource(
            each["ResourceType"],
            each["LogicalResourceId"],
            each.get("PhysicalResourceId") or each["LogicalResourceId"],
        )
        async for page in account.pages("cloudformation", "list_stack_resources", StackName=name)
        for each in page["StackResourceSummaries"]
        if each["ResourceStatus"] != "DELETE_COMPLETE"
    ]


async def _followed(account: Account, name: str, last: str, tell: Tell) -> tuple[Stack | None, str]:
    """The stack once it is no longer being changed, and why its first resource failed.

    Its status may be outdated for a while: the end is an event after the ``last`` one.
    """
    failed, ended = "", False
    while True:
        stack = await find(account, name)
        for each in await _events_since(account, name, last):
            last = each["EventId"]
            status, reason = each["ResourceStatus"], each.get("ResourceStatusReason", "")
            resource = each["LogicalResourceId"]
            if each["ResourceType"] == _STACK and not status.endswith("_IN_PROGRESS"):
                ended = True
            if status.endswith("_FAILED") and not failed:
                failed = f"{resource}: {reason}"
            if reason != _SAID_TWICE:
                tell(f"{status}  {resource}" + (f": {reason}" if reason else ""))
        if stack is None or (ended and not stack.is_busy):
            return stack, failed
        await anyio.sleep(_pause(account))


async def _last_event(account: Account, name: str) -> str:
    """The id of the newest event of a stack."""
    answer = await account.ask("cloudformation", "describe_stack_events", StackName=name)
    return str(answer["StackEvents"][0]["EventId"])


async def _events_since(account: Account, name: str, last: str) -> list[Any]:
    """The events of a stack after one, the oldest first; none if the stack is gone."""
    new: list[Any] = []
    pages = account.pages("cloudformation", "describe_stack_events", StackName=name)
    try:
        async with aclosing(pages):
            async for page in pages:  # the newest first
                for each in page["StackEvents"]:
                    if each["EventId"] == last:
                        return new[::-1]
                    new.append(each)
    except AwsError as error:
        if _NOT_THERE not in str(error):
            raise
    return new[::-1]


def _change(answer: Any) -> Change:
    change = answer["ResourceChange"]
    return Change(
        change["Action"],
        change["LogicalResourceId"],
        change["ResourceType"],
        change.get("Replacement") == "True",
    )


def _pause(account: Account) -> float:
    return _LOOK_SECONDS if account.endpoint is None else _LOOK_SECONDS_EMULATED
