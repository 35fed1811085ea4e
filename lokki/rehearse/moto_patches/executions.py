"""What the API of Step Functions reports of executions, but moto does not.

The children of a map run, pages of a history, also while a map runs, an execution without a name,
the state machine as it was when one started.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from lokki.rehearse.moto_patches.modules import moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.maps import Child
    from lokki.rehearse.moto_patches.platform import Platform

_answer = moto("core.responses").ActionResult
_PAGE = 100


def change(platform: Platform) -> None:
    backend, api = (
        moto("stepfunctions.parser.models").StepFunctionsParserBackend,
        moto("stepfunctions.responses").StepFunctionResponse,
    )
    start, found = backend.start_execution, backend._get_executions
    every, one = api.list_executions, api.describe_execution
    machine = api._describe_state_machine

    def start_execution(
        self: Any, arn: str, name: Any = None, execution_input: Any = None, trace: Any = None
    ) -> Any:
        execution = start(self, arn, name or str(uuid.uuid4()), execution_input, trace)
        worker = execution.exec_worker
        while worker.env is None or worker.env.program_state() is None:  # its thread makes them
            time.sleep(0.001)
        return execution

    def begun(self: Any, status: Any = None) -> Any:
        workers = ((each, each.exec_worker) for each in found(self, status))
        return [each for each, worker in workers if worker is not None and worker.env is not None]

    def get_execution_history(self: Any) -> Any:
        execution = self.stepfunction_backend.describe_execution(self._get_param("executionArn"))
        events = execution.exec_worker.env.history.get_event_history()
        if self._get_param("reverseOrder"):
            events.reverse()
        return _answer(_page(self, "events", events))

    def list_executions(self: Any) -> Any:
        arn = self._get_param("mapRunArn")
        if arn is None:
            return every(self)
        wanted = self._get_param("statusFilter")
        children = [
            {**_brief(child), "mapRunArn": arn, "itemCount": child.items}
            for run_arn, child in _children(self)
            if run_arn == arn and wanted in (None, child.status)
        ]
        return _answer(_page(self, "executions", children))

    def describe_execution(self: Any) -> Any:
        arn = self._get_param("executionArn")
        for run_arn, child in _children(self):
            if child.arn == arn:
                return _answer({**_whole(child), "mapRunArn": run_arn})
        return one(self)

    def describe_state_machine_for_execution(self: Any) -> Any:
        arn = self._get_param("executionArn")
        frozen = self.stepfunction_backend.describe_execution(arn).state_machine
        answer = machine(self, frozen.arn)
        answer.result["definition"] = frozen.definition
        answer.result["roleArn"] = frozen.roleArn
        answer.result["updateDate"] = frozen.update_date
        return answer

    backend.start_execution, backend._get_executions = start_execution, begun
    api.describe_state_machine_for_execution = describe_state_machine_for_execution
    api.get_execution_history = get_execution_history
    api.list_executions = list_executions
    api.describe_execution = describe_execution


def _page(request: Any, name: str, every: list[Any]) -> dict[str, Any]:
    first = int(request._get_param("nextToken") or 0)
    after = first + (request._get_int_param("maxResults") or _PAGE)
    more = {"nextToken": str(after)} if after < len(every) else {}
    return {name: every[first:after], **more}


def _children(request: Any) -> list[tuple[str, Child]]:
    return [
        (record.map_run_arn, child)
        for execution in request.stepfunction_backend._get_executions()
        for record in execution.exec_worker.env.map_run_record_pool_manager.get_all()
        for child in (record.run.children if hasattr(record, "run") else ())
    ]


def _brief(child: Child) -> dict[str, Any]:
    described = {
        "executionArn": child.arn,
        "stateMachineArn": child.machine_arn,
        "name": child.name,
        "status": child.status,
        "startDate": child.started.isoformat(),
    }
    return (
        described if child.stopped is None else described | {"stopDate": child.stopped.isoformat()}
    )


def _whole(child: Child) -> dict[str, Any]:
    described = {**_brief(child), "input": json.dumps(child.input)}
    if child.status == "SUCCEEDED":
        return described | {"output": json.dumps(child.output)}
    return described | {"error": child.error, "cause": child.cause}
