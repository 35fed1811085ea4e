"""An account of AWS, or the rehearsal, in which state machines of a few states are executed.

What is made there is one stack, with a bucket, roles and functions, and the state machines; all
of it is deleted at the end. Their names begin with `lokki-behaviours`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

PREFIX = "lokki-behaviours"
TIMEOUT = 2
"""Seconds that the function may run."""
_LONGEST = 300.0
HANDLER = """
import os, time

class Odd(Exception):
    pass

def handler(event, context):
    for attempt, what in enumerate(event.get("does", [])):
        if attempt == event.get("attempt", 0):
            if what == "raise":
                raise Odd("it is odd")
            if what == "exit":
                os._exit(1)
            if what == "sleep":
                time.sleep(event["seconds"])
            if what == "large":
                return "x" * 256 * 1024
            if what == "none":
                return None
    if event.get("odd until redriven") and not event["redriven"]:
        raise Odd("it is odd")
    return event
"""


@dataclass(frozen=True)
class Ran:
    """An execution that has ended."""

    account: Account
    told: Mapping[str, Any]

    @property
    def arn(self) -> str:
        return str(self.told["executionArn"])

    @property
    def status(self) -> str:
        return str(self.told["status"])

    @property
    def error(self) -> str | None:
        return self.told.get("error")

    @property
    def output(self) -> Any:
        return json.loads(self.told["output"])

    def events(self) -> list[Any]:
        pages = self.account.sfn.get_paginator("get_execution_history")
        found = pages.paginate(executionArn=self.arn)
        return [event for page in found for event in page["events"]]

    def map_run(self) -> Any:
        """What is told of its only map."""
        (run,) = self.account.sfn.list_map_runs(executionArn=self.arn)["mapRuns"]
        return self.account.sfn.describe_map_run(mapRunArn=run["mapRunArn"])

    def children(self) -> list[Ran]:
        """The executions of its only map."""
        arn = self.map_run()["mapRunArn"]
        found = self.account.sfn.list_executions(mapRunArn=arn)["executions"]
        return [self.account.ended(each["executionArn"]) for each in found]

    def files(self) -> dict[str, list[Any]]:
        """The rows that ResultWriter wrote, by status."""
        manifest = self.account.json_at(self.output["ResultWriterDetails"]["Key"])
        return {
            status: [row for each in files for row in self.account.json_at(each["Key"])]
            for status, files in manifest["ResultFiles"].items()
        }


class Account:
    """Use it as a context: it makes the stack, and deletes what was made.

    With ``endpoint`` it is the rehearsal there; else the account of the default credentials.
    """

    def __init__(self, *, endpoint: str | None = None, region: str | None = None) -> None:
        self.is_rehearsal = endpoint is not None
        nobody = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
        session = boto3.Session(region_name=region, **(nobody if endpoint else {}))
        once = Config(retries={"total_max_attempts": 1})  # errors of a rehearsal are to be seen
        given = {"endpoint_url": endpoint, "config": once} if endpoint else {}
        self.sfn = session.client("stepfunctions", **given)
        self.s3 = session.client("s3", **given)
        self.stacks = session.client("cloudformation", **given)
        self.name = f"{PREFIX}-{uuid.uuid4().hex[:8]}"
        self._made = ExitStack()
        self._pause = 0.02 if self.is_rehearsal else 1.0

    def __enter__(self) -> Account:
        self.stacks.create_stack(
            StackName=self.name,
            TemplateBody=json.dumps({"Resources": _RESOURCES, "Outputs": _OUTPUTS}),
            Capabilities=["CAPABILITY_IAM"],
        )
        with ExitStack() as made:
            made.callback(self._delete_stack)
            self.stacks.get_waiter("stack_create_complete").wait(StackName=self.name)
            (stack,) = self.stacks.describe_stacks(StackName=self.name)["Stacks"]
            told = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
            self.bucket, self.role = told["Bucket"], told["Role"]
            self.function, self.refusing = told["Function"], told["Refusing"]
            made.callback(self._empty_bucket)
            self._made = made.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()  # each of them, also if another one fails

    def _empty_bucket(self) -> None:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        for each in (each for page in pages for each in page.get("Contents", ())):
            self.s3.delete_object(Bucket=self.bucket, Key=each["Key"])

    def _delete_stack(self) -> None:
        self.stacks.delete_stack(StackName=self.name)
        self.stacks.get_waiter("stack_delete_complete").wait(StackName=self.name)

    # ---- state machines --------------------------------------------------------------------------

    def machine(self, states: Mapping[str, Any]) -> str:
        """A state machine that starts with the first of these states."""
        definition = json.dumps({"StartAt": next(iter(states)), "States": states})
        name = f"{self.name}-{uuid.uuid4().hex[:8]}"
        made = self._once_the_role_is_known(
            lambda: self.sfn.create_state_machine(
                name=name, definition=definition, roleArn=self.role
            )
        )
        arn = str(made["stateMachineArn"])
        self._made.callback(self.sfn.delete_state_machine, stateMachineArn=arn)
        return arn

    def start(self, machine: str, given: Any = None, **more: Any) -> str:
        text = json.dumps({} if given is None else given)
        started = self.sfn.start_execution(stateMachineArn=machine, input=text, **more)
        return str(started["executionArn"])

    def ended(self, arn: str) -> Ran:
        self.until(lambda: self._told(arn)["status"] not in ("RUNNING", "PENDING_REDRIVE"))
        return Ran(self, self._told(arn))

    def run(self, states: Mapping[str, Any], given: Any = None) -> Ran:
        return self.ended(self.start(self.machine(states), given))

    def redriven(self, ran: Ran) -> Ran:
        self.sfn.redrive_execution(executionArn=ran.arn)
        return self.ended(ran.arn)

    def until(self, is_so: Callable[[], Any]) -> None:
        deadline = time.monotonic() + _LONGEST
        while not is_so():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{_LONGEST:.0f} s have passed")
            time.sleep(self._pause)

    def refusal(self, call: Callable[[], Any]) -> str:
        """The error code of a call that is refused, or that it is accepted."""
        try:
            call()
        except self.sfn.exceptions.ClientError as error:
            return str(error.response["Error"]["Code"])
        return "accepted"

    def _told(self, arn: str) -> Any:
        return self.sfn.describe_execution(executionArn=arn)

    def _once_the_role_is_known(self, call: Callable[[], Any]) -> Any:
        """A new role is not known everywhere at once."""
        for _ in range(20):
            try:
                return call()
            except self.sfn.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "AccessDeniedException":
                    raise
                time.sleep(3)
        return call()

    # ---- states ----------------------------------------------------------------------------------

    def call(
        self, payload: Mapping[str, Any], function: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """A state that calls a function, by default the one that does what it is told."""
        return {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": function or self.function, "Payload": payload},
            "OutputPath": "$.Payload",
            "End": True,
            **more,
        }

    def map(
        self, items: Sequence[Any], inner: Mapping[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """The states of a Distributed Map over a file with these items, as lokki's maps are."""
        key = f"{uuid.uuid4().hex}.json"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=json.dumps(items))
        kind = more.pop("kind", "STANDARD")
        state = {
            "Type": "Map",
            "Label": "Items",
            "ItemReader": {
                "Resource": "arn:aws:states:::s3:getObject",
                "ReaderConfig": {"InputType": "JSON"},
                "Parameters": {"Bucket": self.bucket, "Key": key},
            },
            "ItemSelector": {"index.$": "$$.Map.Item.Index", "value.$": "$$.Map.Item.Value"},
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": kind},
                "StartAt": "Inner",
                "States": {
                    "Inner": inner or {"Type": "Pass", "End": True},
                    "Fail": {"Type": "Fail", "Error": "Odd", "Cause": "it is odd"},
                    "Done": {"Type": "Succeed"},
                },
            },
            "ResultWriter": {
                "Resource": "arn:aws:states:::s3:putObject",
                "Parameters": {"Bucket": self.bucket, "Prefix": key.removesuffix(".json")},
            },
            "End": True,
            **more,
        }
        inside = state["ItemProcessor"]["States"]
        if inner is None or "Choices" not in inner:
            del inside["Fail"], inside["Done"]  # no state leads there
        return {"Map": state}

    def json_at(self, key: str) -> Any:
        return json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())


@contextmanager
def rehearsed() -> Iterator[Account]:
    """The rehearsal, as such an account."""
    from lokki.rehearse.environment import runtime_python
    from lokki.rehearse.moto_patches.server import REGION, serving

    with (
        serving(str(runtime_python())) as platform,
        Account(endpoint=platform.endpoint, region=REGION) as account,
    ):
        yield account


def _assumed_by(service: str) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": f"{service}.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _policy(*statements: tuple[Sequence[str], Any]) -> list[dict[str, Any]]:
    allowed = [
        {"Effect": "Allow", "Action": list(actions), "Resource": resource}
        for actions, resource in statements
    ]
    document = {"Version": "2012-10-17", "Statement": allowed}
    return [{"PolicyName": PREFIX, "PolicyDocument": document}]


_BUCKET_ARN = {"Fn::GetAtt": ["Bucket", "Arn"]}
_OWN = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
_FUNCTION = {
    "Code": {"ZipFile": HANDLER},
    "Handler": "index.handler",
    "Runtime": "python3.13",
    "Timeout": TIMEOUT,
    "Role": {"Fn::GetAtt": ["FunctionRole", "Arn"]},
}
_RESOURCES: dict[str, Any] = {
    "Bucket": {"Type": "AWS::S3::Bucket"},
    "FunctionRole": {
        "Type": "AWS::IAM::Role",
        "Properties": {"AssumeRolePolicyDocument": _assumed_by("lambda")},
    },
    "Function": {"Type": "AWS::Lambda::Function", "Properties": _FUNCTION},
    "Refusing": {
        "Type": "AWS::Lambda::Function",
        "Properties": {**_FUNCTION, "ReservedConcurrentExecutions": 0},
    },
    "Role": {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": _assumed_by("states"),
            "Policies": _policy(
                (
                    ["lambda:InvokeFunction"],
                    [{"Fn::GetAtt": [each, "Arn"]} for each in ("Function", "Refusing")],
                ),
                (
                    ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:AbortMultipartUpload"],
                    [_BUCKET_ARN, {"Fn::Sub": "${Bucket.Arn}/*"}],
                ),
                (
                    [
                        f"states:{each}Execution"
                        for each in ("Start", "Describe", "Stop", "Redrive")
                    ],
                    [
                        {"Fn::Sub": f"{_OWN}:stateMachine:{PREFIX}-*"},
                        {"Fn::Sub": f"{_OWN}:execution:{PREFIX}-*"},
                    ],
                ),
            ),
        },
    },
}
_OUTPUTS = {
    "Bucket": {"Value": {"Ref": "Bucket"}},
    "Role": {"Value": {"Fn::GetAtt": ["Role", "Arn"]}},
    "Function": {"Value": {"Fn::GetAtt": ["Function", "Arn"]}},
    "Refusing": {"Value": {"Fn::GetAtt": ["Refusing", "Arn"]}},
}
