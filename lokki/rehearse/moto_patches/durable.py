"""Durable functions: AWS's own local runner, behind the paths that Lambda has.

https://github.com/aws/aws-durable-execution-sdk-python-testing . It calls functions at this
process's Lambda, and keeps the record of an execution in memory. Waits take no time. What it does
not check, such as the number of operations, this does not check either. A durable function whose
call fails is called again, as on AWS, but only a few times; a refused one waits for room.
"""

from __future__ import annotations

import http.client
import json
import logging
import threading
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import boto3
from aws_durable_execution_sdk_python_testing import execution as executions
from aws_durable_execution_sdk_python_testing import executor, invoker
from aws_durable_execution_sdk_python_testing.child_dispatcher import (
    FunctionConfig,
    FunctionConfigs,
)
from aws_durable_execution_sdk_python_testing.runner import WebRunner, WebRunnerConfig
from aws_durable_execution_sdk_python_testing.web.server import WebServiceConfig

from lokki.rehearse.moto_patches.modules import moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_HANDLER_CALL = "X-Dex-Handler-Invoke"
"""The header of the runner's own calls of a durable function."""
_PATHS = (
    r"durable-executions/(?P<execution>.+)$",
    r"functions/(?P<function_name>[^/]+)/durable-executions/?$",
)
_CHECKPOINT = "/checkpoint"
_REGION = "us-east-1"
_runners: dict[str, tuple[WebRunner, int]] = {}
"""The runner of each AWS of this process, and its port, by endpoint."""
_started: dict[tuple[str, str, str], tuple[str, bytes]] = {}
"""The ARNs and inputs of executions, by endpoint, function and name."""
_lock = threading.Lock()


def change(platform: Platform) -> None:
    patched: Any = invoker
    patched.boto3 = boto3.Session("rehearsal", "rehearsal", "rehearsal", _REGION)
    executor.Executor.RETRY_BACKOFF_SECONDS = 0
    executions.Execution.new = staticmethod(_execution)  # type: ignore[method-assign]
    logging.getLogger("aws_durable_execution_sdk_python_testing").setLevel(logging.CRITICAL)

    def forward(request: Any, full_url: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(full_url)
        query = parts.query.replace("Statuses=", "StatusFilter=")  # by which name it filters
        path = parts.path + f"?{query}" * bool(query)
        asked = platform, request.method, path, request.get_data()
        if platform.on_checkpoint is None or not parts.path.endswith(_CHECKPOINT):
            return _asked(*asked)
        execution = unquote(parts.path.removesuffix(_CHECKPOINT)).partition("executions/")[2]
        updates = json.loads(request.get_data()).get("Updates", [])
        platform.on_checkpoint(execution, updates, False)
        answer = _asked(*asked)
        platform.on_checkpoint(execution, updates, True)
        return answer

    paths = moto("awslambda.urls").url_paths
    for each in _PATHS:
        paths[rf"{{0}}/2025-12-01/{each}"] = forward


def is_durable(function: Any) -> bool:
    return getattr(function, "durable_config", None) is not None


def is_start(function: Any, headers: Any) -> bool:
    """Whether a call of a function starts an execution: it is not made by the runner."""
    return is_durable(function) and _HANDLER_CALL not in headers


def start(function: Any, platform: Platform, payload: bytes, headers: Any) -> str:
    """Start an execution of a durable function; its ARN.

    A name that is taken is refused, unless its execution has the same input: then it is that one
    (https://docs.aws.amazon.com/lambda/latest/dg/durable-execution-idempotency.html).
    """
    config = function.durable_config
    name = headers.get("X-Amz-Durable-Execution-Name") or str(uuid.uuid4())
    taken = platform.endpoint, function.function_name, name
    if taken in _started:
        arn, given = _started[taken]
        if given != payload:
            raise _refused(
                "DurableExecutionAlreadyStartedException", f"{name} has another input", 409
            )
        return arn
    wanted = {
        "AccountId": function.account_id,
        "FunctionName": function.function_name,
        "FunctionQualifier": str(function.version),
        "ExecutionName": name,
        "ExecutionTimeoutSeconds": config["ExecutionTimeout"],
        "ExecutionRetentionPeriodDays": config.get("RetentionPeriodInDays", 14),
        "InvocationId": str(uuid.uuid4()),
        "Input": payload.decode(),
    }
    body = json.dumps(wanted).encode()
    _set_clock(platform)
    status, _, answer = _asked(platform, "POST", "/start-durable-execution", body)
    if status != http.HTTPStatus.CREATED:
        raise _refused("InvalidParameterValueException", answer.decode(), 400)
    made: str = json.loads(answer)["ExecutionArn"]
    _started[taken] = made, payload
    return made


def _refused(code: str, text: str, status: int) -> Exception:
    refused: Exception = moto("awslambda.exceptions").LambdaClientError(code, text)
    refused.code = status  # type: ignore[attr-defined]
    return refused


def close(platform: Platform) -> None:
    """End the runner of an AWS, if it has one."""
    with _lock:
        runner, _ = _runners.pop(platform.endpoint, (None, 0))
    if runner is not None:
        runner.stop()


def _asked(
    platform: Platform, method: str, path: str, body: bytes
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", _port(platform))
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, {"Content-Type": "application/json"}, answer.read()
    finally:
        connection.close()


def _set_clock(platform: Platform) -> None:
    """Set the runner's clock, which is ahead by all waits that it has skipped, unless it is in use.

    Lines of functions, and what else AWS does, have this machine's time.
    """
    _port(platform)
    runner: Any = _runners[platform.endpoint][0]
    if all(each.is_complete for each in runner._store.list_all()):
        runner._clock.__init__()


def _port(platform: Platform) -> int:
    """The port of the runner, which is started if it is not running."""
    with _lock:
        if platform.endpoint not in _runners:
            runner = WebRunner(
                WebRunnerConfig(
                    web_service=WebServiceConfig("127.0.0.1", 0, logging.CRITICAL),
                    lambda_endpoint=platform.endpoint,
                    local_runner_region=_REGION,
                    skip_time=True,
                    function_configs=_Plain({}),
                )
            )
            runner.start()
            server: Any = runner._server
            threading.Thread(target=runner.serve_forever, daemon=True).start()
            _runners[platform.endpoint] = runner, server.server_port
        return _runners[platform.endpoint][1]


class _Plain(FunctionConfigs):
    """Every function that is called by a durable one is a plain one."""

    def lookup(self, function_name: str, qualifier: str | None) -> FunctionConfig | None:
        return _plain()


@cache
def _plain() -> FunctionConfig:
    return FunctionConfig(is_durable=False)


def _execution(input: Any) -> executions.Execution:
    """An execution whose ARN is as on AWS, with its name in it."""
    function = f"arn:aws:lambda:{_REGION}:{input.account_id}:function:{input.function_name}"
    own = f"durable-execution/{input.execution_name}/{input.invocation_id or uuid.uuid4()}"
    arn = f"{function}:{input.function_qualifier}/{own}"
    return executions.Execution(durable_execution_arn=arn, start_input=input, operations=[])
