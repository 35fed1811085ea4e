"""Stops an execution at once, with its map runs and their children.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html: a function
that runs is not waited for, and its answer is no part of the execution any more. A thread of moto
looks between two tasks whether it is stopped: it goes on with records that nobody reads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lokki.rehearse.moto_patches.maps import aborted
from lokki.rehearse.moto_patches.modules import asl, moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_answer = moto("core.responses").ActionResult
_events = asl("eval.event.event_manager")


class _Unheard:
    """Receives the end of an execution that was stopped before, and drops it."""

    def terminated(self) -> None:
        pass


def change(platform: Platform) -> None:
    api = moto("stepfunctions.responses").StepFunctionResponse

    def stop_execution(self: Any) -> Any:
        execution = self.stepfunction_backend.describe_execution(self._get_param("executionArn"))
        reason = {name: self._get_param(name) for name in ("error", "cause")}
        _stop(execution, {name: text for name, text in reason.items() if text})
        return _answer({"stopDate": execution.stop_date})

    api.stop_execution = stop_execution


def _stop(execution: Any, reason: Mapping[str, str]) -> None:
    """Stop an execution unless it has ended."""
    worker = execution.exec_worker
    env = worker.env
    at = datetime.now(UTC)
    with env._state_mutex:
        if env.is_running():
            execution.exec_worker = _ended(execution, at, reason)
            worker._execution_communication = _Unheard()
            env.set_stop(at, reason.get("cause"), reason.get("error"))
            execution.stop_date = at
            execution.error, execution.cause = reason.get("error"), reason.get("cause")
            execution.exec_status = moto("stepfunctions.parser.api").ExecutionStatus.ABORTED
    while execution.status == "RUNNING":  # its thread is about to report its end
        time.sleep(0.001)


def _ended(execution: Any, at: datetime, reason: Mapping[str, str]) -> Any:
    """The worker of a stopped execution, for the API to describe and a redrive to begin with."""
    before = execution.exec_worker.env
    worker = execution._get_start_execution_worker()
    env = worker.env = worker._get_evaluation_environment()
    env.entered = before.entered
    history = before.history.get_event_history()
    env.history = env.event_manager
    env.history._history_event_list.extend(history)
    env.history._event_id_gen._next_id = len(history) + 1
    env.history.add_event(
        context=_events.EventHistoryContext.of_program_start(),
        event_type="ExecutionAborted",
        event_details={"executionAbortedEventDetails": dict(reason)},
        timestamp=at,
    )
    for record in before.map_run_record_pool_manager.get_all():
        env.map_run_record_pool_manager.add(aborted(record, at))
    return worker
