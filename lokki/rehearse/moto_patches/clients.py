"""How a state machine calls the other services.

A client is made once, not for each call, the parameters and results of ``batch:submitJob.sync`` are
in PascalCase, and the result of ``lambda:invoke`` has what Step Functions adds to it.
"""

from __future__ import annotations

import json
import sys
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session

from lokki.rehearse.moto_patches.modules import asl

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_STATE_TASK = "component.state.exec.state_task."
_TASK = f"{_STATE_TASK}service."
_Stopped = asl("eval.program_state").ProgramStopped


def change(platform: Platform) -> None:
    make = asl("utils.boto_client").boto_client_for

    @cache
    def made(region: str, service: str, endpoint: str) -> Any:
        return make(region=region, service=service)

    def client(region: str, service: str, state_credentials: Any = None) -> Any:
        return made(region, service, platform.endpoint)

    batch = asl(f"{_TASK}state_task_service_batch").StateTaskServiceBatch
    for module in list(sys.modules.values()):
        if getattr(module, "boto_client_for", None) is make:
            module.boto_client_for = client  # type: ignore[attr-defined]
    batch._normalise_parameters = _parameters
    batch._normalise_response = _response
    _end_jobs_of_stopped_executions(batch)
    calls = asl(f"{_STATE_TASK}lambda_eval_utils")
    invoke = calls.execute_lambda_function_integration

    def invoke_as_there(env: Any, **given: Any) -> None:
        invoke(env=env, **given)
        env.stack.append(_with_metadata(env.stack.pop()))

    calls.execute_lambda_function_integration = invoke_as_there


def _end_jobs_of_stopped_executions(task: Any) -> None:
    """https://docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html#connect-sync"""
    resolver, wait = task._build_sync_resolver, task._eval_sync

    def build(self: Any, env: Any, resource_runtime_part: Any, **more: Any) -> Any:
        env.job = resource_runtime_part.region, env.stack[-1]["JobId"]
        return resolver(self, env, resource_runtime_part, **more)

    def evaluate(self: Any, env: Any, **more: Any) -> Any:
        # once stopped, moto has evaluated no timeout: it would wait with another value
        outcome = wait(self, env=env, **more) if env.is_running() else None
        if isinstance(env.program_state(), _Stopped):
            region, job = env.job
            client = asl("utils.boto_client").boto_client_for(region=region, service="batch")
            client.terminate_job(jobId=job, reason="its execution was stopped")
        return outcome

    task._build_sync_resolver, task._eval_sync = build, evaluate


def _with_metadata(answer: Any) -> Any:
    """The result of an invocation with what Step Functions adds: about 920 bytes, part of its size.

    As in https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html, and as recorded
    in test_lambda_task_service::test_invoke of LocalStack on 2025-11-06.
    """
    request = str(uuid.uuid4())
    headers = {
        "Connection": "keep-alive",
        "Content-Length": str(len(json.dumps(answer["Payload"]))),
        "Content-Type": "application/json",
        "Date": "Thu, 06 Nov 2025 12:00:00 GMT",
        "X-Amz-Executed-Version": "$LATEST",
        "x-amzn-Remapped-Content-Length": "0",
        "x-amzn-RequestId": request,
        "X-Amzn-Trace-Id": f"root=1-{request[:8]}-{uuid.uuid4().hex[:24]};sampled=0",
    }
    return answer | {
        "ExecutedVersion": "$LATEST",
        "SdkHttpMetadata": {
            "AllHttpHeaders": {name: [value] for name, value in headers.items()},
            "HttpHeaders": headers,
            "HttpStatusCode": 200,
        },
        "SdkResponseMetadata": {"RequestId": request},
    }


def _parameters(self: Any, parameters: Any, *_: Any, **names: Any) -> None:
    self._to_boto_request(parameters, _operation(self, names).input_shape)


def _response(self: Any, response: Any, *_: Any, **names: Any) -> None:
    self._from_boto_response(response, _operation(self, names).output_shape)


def _operation(task: Any, names: Any) -> Any:
    action = task._get_boto_service_action(names.get("service_action_name"))
    name = "".join(part.title() for part in action.split("_"))
    return _batch_model().operation_model(name)


@cache
def _batch_model() -> Any:
    return botocore.session.get_session().get_service_model("batch")
