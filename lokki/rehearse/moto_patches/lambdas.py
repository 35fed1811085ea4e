"""Lambda: runs a function's code under the real runtime interface client, not in a container.

moto's model for CloudFormation supports neither images nor custom log groups. A version keeps the
code and configuration that its function had when it was published; see `versions`.
"""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, cast

from lokki.rehearse.moto_patches import durable, packages, prepared
from lokki.rehearse.moto_patches.modules import moto
from lokki.rehearse.moto_patches.prepared import Sandbox
from lokki.rehearse.moto_patches.quotas import permitted
from lokki.rehearse.moto_patches.runtime_api import Function, Outcome, Spec
from lokki.rehearse.moto_patches.variables import variables

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_models = moto("awslambda.models")
_live: dict[str, tuple[Any, Function]] = {}
"""The running functions by ARN, and what they were made of."""
_lock = threading.Lock()


def change(platform: Platform) -> None:
    def invoke(self: Any, body: Any, request_headers: Any, response_headers: Any) -> bytes:
        payload = body.encode() if isinstance(body, str) else (body or b"{}")
        if durable.is_start(self, request_headers):
            arn = durable.start(self, platform, payload, request_headers)
            response_headers["X-Amz-Durable-Execution-Arn"] = arn
            return b""
        with permitted(self, platform, waits=durable.is_durable(self)):
            outcome = _function(self, platform).invoke(payload)
        _log(self, outcome)
        if outcome.failed:
            response_headers["x-amz-function-error"] = "Unhandled"
        return outcome.payload

    delete = _models.LambdaFunction.delete

    def end(self: Any, account_id: str, region: str) -> None:
        delete(self, account_id, region)
        end_of(self.function_arn)

    _models.LambdaFunction.invoke = invoke
    _models.LambdaFunction.delete = end
    made = _models.LambdaFunction.create_from_cloudformation_json.__func__
    updated = _models.LambdaFunction.update_from_cloudformation_json.__func__

    def create(
        cls: Any, name: str, document: Any, account_id: str, region: str, **more: Any
    ) -> Any:
        function = made(cls, name, document, account_id, region, **more)
        return _completed(function, document["Properties"])

    def update(cls: Any, original_resource: Any, *about: Any, **more: Any) -> Any:
        original_resource.code = dict(original_resource.code)  # a version has the one before
        function = updated(cls, original_resource, *about, **more)
        return _completed(function, more["cloudformation_json"]["Properties"])

    _models.LambdaFunction.create_from_cloudformation_json = classmethod(cast(Any, create))
    _models.LambdaFunction.update_from_cloudformation_json = classmethod(cast(Any, update))


def _completed(function: Any, given: Any) -> Any:
    """A function with those of its properties that moto leaves out."""
    function.package_type = given.get("PackageType", "Zip")
    function.image_config = _models.ImageConfig(given.get("ImageConfig", {}))
    function.reserved_concurrency = given.get("ReservedConcurrentExecutions")
    function.architectures = given.get("Architectures", ["x86_64"])
    function.durable_config = given.get("DurableConfig")
    function.tags = {each["Key"]: each["Value"] for each in given.get("Tags", [])}
    function.logs_group_name = given.get("LoggingConfig", {}).get(
        "LogGroup", function.logs_group_name
    )
    return function


def end_of(arn: str) -> None:
    """End the processes of a function and all its versions, or of one version."""
    with _lock:
        ended = [each for each in _live if each == arn or each.startswith(f"{arn}:")]
        functions = [_live.pop(each)[1] for each in ended]
        used = {function.folder for _, function in _live.values()}
    for function in functions:
        function.close()
    prepared.end(used)


def kill(arn: str) -> None:
    """Kill the processes of a function and all its versions, whatever they do."""
    with _lock:
        killed = [made for each, (_, made) in _live.items() if f"{each}:".startswith(f"{arn}:")]
    for function in killed:
        function.kill()


def version_of(arn: str) -> str:
    """The version that the ARN of a function names."""
    return arn.split(":")[7] if arn.count(":") == 7 else "$LATEST"


def end_idle() -> None:
    """End the processes that wait for events; an event after that starts one."""
    with _lock:
        every = [function for _, function in _live.values()]
    for each in every:
        each.end_idle()
    prepared.end()


def close() -> None:
    """End every process."""
    with _lock:
        every = [function for _, function in _live.values()]
        _live.clear()
    for each in every:
        each.close()
    prepared.close()
    packages.remove()


def _function(function: Any, platform: Platform) -> Function:
    """The running function, restarted if its code or configuration has changed."""
    version = (
        function.code_sha_256,
        json.dumps(function.environment_vars, sort_keys=True),
        function.timeout,
        platform.endpoint,
    )
    with _lock:
        known = _live.get(function.function_arn)
        if known is not None and known[0] == version:
            return known[1]
        if known is not None:
            known[1].close()
        made = Function(_spec(function, platform))
        _live[function.function_arn] = version, made
        return made


def _spec(function: Any, platform: Platform) -> Spec:
    if "ImageUri" in function.code:
        image = platform.images[function.code["ImageUri"]]
        folder, more = image.folder, image.env
        argv = (*image.entrypoint, *function.image_config.cmd)
    else:
        folder, more = packages.unpacked(function, writable=platform.confined), {}
        argv = (platform.python, "-m", "awslambdaric", function.handler)
    version = version_of(function.function_arn)
    env = {
        **variables(function, version, folder, argv[-1], platform),
        **more,
        **function.environment_vars,
        "AWS_ENDPOINT_URL": platform.endpoint,
    }
    return Spec(
        function.function_arn,
        argv,
        Sandbox(folder, function.ephemeral_storage, platform.shared, platform.confined),
        env,
        float(function.timeout),
        function.memory_size,
        platform.init_seconds,
    )


def _log(function: Any, outcome: Outcome) -> None:
    """The lines that Lambda adds to a function's own."""
    milliseconds = outcome.seconds * 1000
    memory = function.memory_size
    lines = [
        f"START RequestId: {outcome.request_id} Version: {version_of(function.function_arn)}",
        *outcome.output.splitlines(),
        f"END RequestId: {outcome.request_id}",
        f"REPORT RequestId: {outcome.request_id}\tDuration: {milliseconds:.2f} ms\t"
        f"Billed Duration: {int(milliseconds) + 1} ms\tMemory Size: {memory} MB\t"
        f"Max Memory Used: {outcome.memory} MB",
    ]
    logs, group, now = function.logs_backend, function.logs_group_name, int(time.time() * 1000)
    logs.ensure_log_group(group)
    logs.ensure_log_stream(group, outcome.stream)
    events = [{"timestamp": now, "message": line} for line in lines]
    logs.put_log_events(group, outcome.stream, events)
