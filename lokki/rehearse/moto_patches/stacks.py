"""Change sets of CloudFormation, as on AWS.

Events for each resource, everything that parameters change, outputs; a stack whose creation fails
is rolled back and says why; of several change sets of a new stack, the first executed wins. An
update makes and changes resources after what they refer to, and removes the others at its end. A
template whose references lead nowhere is refused, as is the creation of what exists, and a change
set that is gone; in words that LocalStack recorded: its tests of cloudformation/api/test_changesets
and engine/test_references. A change set that would make a log group or a state machine that exists
fails, and its events say why, as quoted in https://github.com/aws-cloudformation/rain/pull/744.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lokki.builder.references import dependency_order, references
from lokki.rehearse.moto_patches.modules import moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_NEW = "REVIEW_IN_PROGRESS"
_CREATED = (
    ("CREATE_IN_PROGRESS", None),
    ("CREATE_IN_PROGRESS", "Resource creation Initiated"),
    ("CREATE_COMPLETE", None),
)
_NAMED = {
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}
_CHECK_FAILED = (
    "The following hook(s)/validation failed: [AWS::EarlyValidation::ResourceExistenceCheck]. To "
    "troubleshoot Early Validation errors, use the DescribeEvents API for detailed failure "
    "information."
)
_exceptions = moto("cloudformation.exceptions")
_Error: Any = _exceptions.CloudFormationError


def change(platform: Platform) -> None:
    models = moto("cloudformation.models")
    _change_resources(models)
    _change_change_sets(models)
    _change_reading(models)


def _change_resources(models: Any) -> None:
    parsing = moto("cloudformation.parsing")
    make = parsing.parse_and_create_resource

    def parse_and_create_resource(
        name: str, resource: Any, resources: Any, account_id: str, region_name: str
    ) -> Any:
        stack = models.cloudformation_backends[account_id][region_name].stacks.get(
            resources.stack_id
        )
        described = (stack, name, resource["Type"])
        try:
            made = make(name, resource, resources, account_id, region_name)
        except Exception as error:
            if not hasattr(error, "resource"):  # otherwise it is that of one that this one needs
                vars(error)["resource"] = name
                _record(models, *described, "CREATE_FAILED", getattr(error, "message", str(error)))
            raise
        if made is not None:
            for status, reason in _CREATED:
                _record(models, *described, status, reason)
        return made

    def update(self: Any, template: Any, parameters: Any = None) -> None:
        """Like moto's, which removes first, then makes, then changes."""
        changed, before = self.build_resource_diff(template, parameters), self._resource_json_map
        self._template, self._resource_json_map = template, template["Resources"]
        if parameters:
            self.input_parameters = parameters
        self.load_mapping()
        self.load_parameters()
        self.load_conditions()
        for name in dependency_order(template["Resources"]):
            if name in changed["Modify"]:
                where = {"account_id": self._account_id, "region_name": self._region_name}
                given = template["Resources"][name]
                made = parsing.parse_and_update_resource(name, given, self, **where)
                self._parsed_resources[name] = made or self._parsed_resources[name]
            elif name in changed["Add"]:
                _ = self[name]  # makes it
        for name in reversed(dependency_order(before)):
            if name in changed["Remove"] and (gone := self._parsed_resources.pop(name, None)):
                self._delete_resource(gone, before[name])

    parsing.parse_and_create_resource = parse_and_create_resource
    parsing.ResourceMap.update = update


def _change_change_sets(models: Any) -> None:
    backend = models.CloudFormationBackend
    create, execute, create_stack = (
        backend.create_change_set,
        backend.execute_change_set,
        backend.create_stack,
    )

    def created(self: Any, name: str, template: str, *about: Any, **more: Any) -> Any:
        _check_references(template)
        return create_stack(self, name, template, *about, **more)

    def create_change_set(
        self: Any,
        stack_name: str,
        change_set_name: str,
        template: str,
        *about: Any,
        change_set_type: str,
        **more: Any,
    ) -> Any:
        there = [each for each in self.stacks.values() if each.name == stack_name]
        if change_set_type == "CREATE" and any(each.status != _NEW for each in there):
            raise _invalid(
                f"Stack [{stack_name}] already exists and cannot be created again with the "
                f"changeSet [{change_set_name}]."
            )
        _check_references(template)
        change_set_id, stack_id = create(
            self,
            stack_name,
            change_set_name,
            template,
            *about,
            change_set_type=change_set_type,
            **more,
        )
        change_set = self.change_sets[change_set_id]
        if change_set_type == "UPDATE":
            _list_what_parameters_change(models, change_set)
        elif there:
            del self.stacks[stack_id]
            change_set.stack, change_set.stack_id = there[0], there[0].stack_id
        change_set.refusals = list(_conflicts(change_set, self.account_id, self.region_name))
        if change_set.refusals:
            change_set.status, change_set.execution_status = "FAILED", "UNAVAILABLE"
            change_set.status_reason = _CHECK_FAILED
        return change_set_id, change_set.stack_id

    def describe_change_set(self: Any, change_set_name: str) -> Any:
        for name, each in self.change_sets.items():
            if change_set_name in (name, each.change_set_name):
                return each
        raise _Gone(f"ChangeSet [{change_set_name}] does not exist")

    def execute_change_set(self: Any, change_set_name: str, stack_name: Any = None) -> None:
        change_set = describe_change_set(self, change_set_name)
        kind, stack = change_set.change_set_type, change_set.stack
        if kind == "CREATE" and stack.status != _NEW:
            raise _Obsolete(f"ChangeSet [{change_set_name}] cannot be executed: it is OBSOLETE")
        try:
            execute(self, change_set_name, stack_name)
        except Exception:
            _roll_back(stack, kind)
            return
        stack.parameters = change_set.parameters
        stack._parse_template()
        stack.output_map = stack._create_output_map()

    def describe_events(self: Any) -> Any:
        change_set = self.cloudformation_backend.describe_change_set(
            self._get_param("ChangeSetName")
        )
        return responses.ActionResult({"OperationEvents": change_set.refusals})

    responses = moto("cloudformation.responses")
    responses.CloudFormationResponse.describe_events = describe_events
    backend.create_stack, backend.create_change_set = created, create_change_set
    backend.describe_change_set = describe_change_set
    backend.execute_change_set = execute_change_set


def _change_reading(models: Any) -> None:
    """Read JSON as such, which takes a hundredth of the time that it takes as YAML."""
    read_yaml = models.Stack.parse_template

    def read(template: str) -> Any:
        with suppress(ValueError):
            return json.loads(template)
        return read_yaml(template)

    def read_own(self: Any) -> None:
        self.template_dict = read(self.template)

    models.Stack.parse_template = staticmethod(read)
    models.ChangeSet._parse_template = read_own


def _conflicts(change_set: Any, account_id: str, region: str) -> Iterator[dict[str, str]]:
    """The events of resources that a change set would make, and that exist."""
    names = {
        "AWS::Logs::LogGroup": moto("logs.models").logs_backends[account_id][region].groups,
        "AWS::StepFunctions::StateMachine": [
            each.name
            for each in moto("stepfunctions.models")
            .stepfunctions_backends[account_id][region]
            .state_machines
        ],
    }
    resources = change_set.template_dict["Resources"]
    for each in change_set.changes:
        kind, logical = each.resource_type, each.logical_resource_id
        name = resources.get(logical, {}).get("Properties", {}).get(_NAMED.get(kind, ""))
        if each.action == "Add" and isinstance(name, str) and name in names[kind]:
            yield {
                "EventType": "VALIDATION_ERROR",
                "LogicalResourceId": logical,
                "ResourceType": kind,
                "ValidationName": "NAME_CONFLICT_VALIDATION",
                "ValidationStatus": "FAILED",
                "ValidationStatusReason": (
                    f"Resource of type '{kind}' with identifier '{name}' already exists."
                ),
            }


class _Obsolete(_Error):  # type: ignore[misc]
    code = "InvalidChangeSetStatus"


class _Gone(_Error):  # type: ignore[misc]
    code = "ChangeSetNotFound"


def _invalid(message: str) -> Exception:
    refused: Exception = _exceptions.ValidationError(message=message)
    return refused


def _check_references(template: str) -> None:
    """Refuse a template in JSON that refers to what it does not have."""
    with suppress(ValueError):
        read = json.loads(template)
        known = read["Resources"].keys() | read.get("Parameters", {}).keys()
        named = references(read["Resources"])
        missing = sorted(each for each in named - known if not each.startswith("AWS::"))
        if missing:
            raise _invalid(
                f"Template format error: Unresolved resource dependencies [{', '.join(missing)}] "
                "in the Resources block of the template"
            )


def _roll_back(stack: Any, kind: str) -> None:
    back = "ROLLBACK" if kind == "CREATE" else "UPDATE_ROLLBACK"
    stack._add_stack_event(f"{back}_IN_PROGRESS")
    if kind == "CREATE":
        with suppress(Exception):
            stack.resource_map.delete()
        stack.resource_map._resource_json_map = {}  # otherwise a look at them would make them
    stack.status = f"{back}_COMPLETE"
    stack._add_stack_event(stack.status)


def _list_what_parameters_change(models: Any, change_set: Any) -> None:
    template = change_set.template_dict
    actions = change_set.stack.resource_map.build_resource_diff(template, change_set.parameters)
    listed = {each.logical_resource_id for each in change_set.changes}
    for name in actions["Modify"]:
        if name not in listed:
            kind = template["Resources"][name]["Type"]
            change_set.changes.append(models.Change("Modify", name, kind))


def _record(models: Any, stack: Any, name: str, kind: str, status: str, reason: str | None) -> None:
    if stack is not None:
        stack.events.append(
            models.Event(stack.stack_id, stack.name, name, "", kind, status, reason, None)
        )
