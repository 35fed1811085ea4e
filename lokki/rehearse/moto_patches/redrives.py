"""Redrives an execution that failed or was stopped, from the state in which it ended.

As https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html says: results stay,
in a map, too, and the context counts the redrives.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

from lokki.rehearse.moto_patches.modules import asl, moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

COUNT = "RedriveCount"
_answer = moto("core.responses").ActionResult
_ENDED = ("FAILED", "ABORTED", "TIMED_OUT")
_PERIOD = timedelta(days=14)
_MOST_EVENTS = 24_999


def change(platform: Platform) -> None:
    worker = moto("stepfunctions.parser.backend.execution_worker").ExecutionWorker
    api = moto("stepfunctions.responses").StepFunctionResponse
    environment, describe = worker._get_evaluation_environment, api.describe_execution
    state = asl("component.state.state").CommonStateField
    evaluated = state._eval_body

    def in_environment(self: Any) -> Any:
        made = environment(self)
        made.states.context_object.context_object_data["Execution"][COUNT] = 0
        made.history = made.event_manager
        return made

    def evaluate(self: Any, env: Any) -> None:
        env.entered = self.name, env.states.get_input()
        evaluated(self, env)

    def redrive_execution(self: Any) -> Any:
        execution = self.stepfunction_backend.describe_execution(self._get_param("executionArn"))
        if reason := _why_not(execution):
            raise moto("core.exceptions").JsonRESTError("ExecutionNotRedrivable", reason)
        _redrive(execution)
        return _answer({"redriveDate": execution.redriven_at})

    def describe_execution(self: Any) -> Any:
        answer = describe(self)
        described = answer.result
        if "mapRunArn" not in described:
            execution = self.stepfunction_backend.describe_execution(described["executionArn"])
            described["redriveCount"] = getattr(execution, "redriven", 0)
            if described["redriveCount"]:
                described["redriveDate"] = execution.redriven_at
            reason = _why_not(execution)
            described["redriveStatus"] = "NOT_REDRIVABLE" if reason else "REDRIVABLE"
            if reason:
                described["redriveStatusReason"] = reason
        return answer

    asl("eval.environment").Environment.entered = None
    worker._get_evaluation_environment = in_environment
    state._eval_body = evaluate
    api.redrive_execution = redrive_execution
    api.describe_execution = describe_execution


def _why_not(execution: Any) -> str | None:
    """Why an execution cannot be redriven, in the words of
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html .
    """
    if execution.status not in _ENDED:
        return f"Execution is {execution.status} and cannot be redriven"
    if datetime.now(UTC) - execution.stop_date > _PERIOD:
        return "Execution redrivable period exceeded"
    if len(execution.exec_worker.env.history.get_event_history()) >= _MOST_EVENTS:
        return "Execution history event limit exceeded"
    return None


def begun_in(program: Any, state: str) -> Any:
    """A program that begins in one of its states."""
    made = copy.copy(program)
    made.start_at = copy.copy(program.start_at)
    made.start_at.start_at_name = state
    return made


def _redrive(execution: Any) -> None:
    before = execution.exec_worker.env
    name, given = before.entered
    execution.redriven = getattr(execution, "redriven", 0) + 1
    execution.redriven_at = datetime.now(UTC)
    execution.stop_date = execution.error = execution.cause = None
    worker = execution._get_start_execution_worker()
    env = worker.env = worker._get_evaluation_environment()
    env.event_manager = env.history = before.history
    env.map_run_record_pool_manager = before.map_run_record_pool_manager
    env.map_run_record_pool_manager.goes_on = True
    env.states.reset(given)
    env.states.context_object.context_object_data["Execution"][COUNT] = execution.redriven
    program = begun_in(worker._get_evaluation_entrypoint(), name)
    execution.exec_worker = worker
    execution.exec_status = moto("stepfunctions.parser.api").ExecutionStatus.RUNNING

    def work() -> None:
        env.event_manager.add_event(
            context=env.event_history_context,
            event_type="ExecutionRedriven",
            event_details={"executionRedrivenEventDetails": {"redriveCount": execution.redriven}},
        )
        program.eval(env)
        worker._execution_communication.terminated()

    Thread(target=work, daemon=True).start()
