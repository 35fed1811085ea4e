"""How a state machine calls the other services.

A client is made once, not for each call, and the parameters and results of
``batch:submitJob.sync`` are in PascalCase, as in Step Functions.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session

from lokki.rehearse.moto_patches.modules import asl

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_TASK = "component.state.exec.state_task.service."


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
