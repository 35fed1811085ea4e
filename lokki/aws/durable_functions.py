"""The executions of durable functions, in the form in which Step Functions reports its own.

https://docs.aws.amazon.com/lambda/latest/api/API_ListDurableExecutionsByFunction.html and the
requests beside it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from lokki.aws import stack
from lokki.aws.account import Account
from lokki.aws.durable_history import operations
from lokki.aws.durable_view import (
    Outline,
    Recorded,
    begun,
    description,
    has_failed,
    machine_of,
    observation,
    outline_of,
    status_there,
    waits_for_jobs,
)
from lokki.aws.execution_view import Answer, Machine, Observation, Outlined
from lokki.builder.durable import ALIAS
from lokki.errors import AwsError
from lokki.model import structure
from lokki.model.failure import Failure
from lokki.runtime import job_record
from lokki.runtime.payloads import Payloads

Ask: TypeAlias = Callable[..., Awaitable[Answer]]
"""Makes a request of Lambda with these parameters."""

_PAGE = 1_000
"""Events of a history, or executions, per request."""
_GONE = "ResourceNotFoundException"
TAKEN = "DurableExecutionAlreadyStartedException"
_NO_EXECUTION, _NO_FUNCTION = "ExecutionDoesNotExist", "StateMachineDoesNotExist"
"""What Step Functions reports instead."""


class DurableFunctions:
    """Those of an account, by the names of their functions. Methods raise AwsError.

    An error has the code that Step Functions has for it.
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    async def start(self, function: str, run_id: str, given: str) -> None:
        """Start an execution, unless the id is taken: then it reports ExecutionAlreadyExists.

        The same id with the same input is no error for Lambda.
        """
        if await self.find(function, run_id) is not None:
            raise AwsError(f"execution {run_id} of {function} exists", "ExecutionAlreadyExists")
        try:
            await self._ask(
                "invoke",
                FunctionName=f"{function}:{ALIAS}",
                InvocationType="Event",
                DurableExecutionName=run_id,
                Payload=given.encode(),
            )
        except AwsError as error:
            if error.code == TAKEN:
                raise AwsError(str(error), "ExecutionAlreadyExists") from error
            raise

    async def stop(self, function: str, run_id: str, payloads: Payloads) -> None:
        """Stop an execution and end its jobs; functions that it has called go on to their end."""
        found = await self._found(function, run_id)
        if found["Status"] != "RUNNING":
            return
        await self._ask(
            "stop_durable_execution",
            DurableExecutionArn=found["DurableExecutionArn"],
            Error={"ErrorType": "Cancelled", "ErrorMessage": "cancelled by lokki"},
        )
        async for job in job_record.cancel(payloads, run_id):
            await self._account.ask(
                "batch", "terminate_job", jobId=job, reason="cancelled by lokki"
            )

    async def find(self, function: str, run_id: str) -> Answer | None:
        """An execution in brief, if there is one."""
        pages = self._listed(function, DurableExecutionName=run_id)
        async for each in pages:
            if each["DurableExecutionName"] == run_id:
                return each
        return None

    async def described(self, function: str, run_id: str) -> Answer:
        """An execution. Raises ExecutionDoesNotExist."""
        found = await self._found(function, run_id)
        return description(await self._execution(found["DurableExecutionArn"]))

    async def listed(self, function: str, statuses: Sequence[str]) -> AsyncGenerator[Answer]:
        """Executions, the newest first."""
        wanted = {"Statuses": [status_there(each) for each in statuses]} if statuses else {}
        async for each in self._listed(function, ReverseOrder=True, **wanted):
            yield description(each)

    async def deployed(self, function: str, flow: str, stack_name: str) -> Machine:
        """A flow as deployed now."""
        alias = await self._ask("get_alias", FunctionName=function, Name=ALIAS)
        about = (await stack.template(self._account, stack_name))["Metadata"]["lokki"]
        return machine_of(flow, structure.loaded(about["structure"]), alias["FunctionVersion"])

    async def observe(
        self, function: str, run_id: str, flow: str, payloads: Payloads
    ) -> Observation:
        """What is known of an execution. Raises ExecutionDoesNotExist."""
        arn = (await self._found(function, run_id))["DurableExecutionArn"]
        execution = await self._execution(arn)
        ask = partial(self._ask, "get_durable_execution_history")
        done = operations([each async for each in events(ask, arn)])
        version = execution.get("Version", "")
        outline = outline_of(flow, done, version) or Outline(machine_of(flow, [], version), {}, {})
        stages = begun(outline.machine, done)
        broken = stages[-1:] if execution["Status"] not in ("RUNNING", "SUCCEEDED") else []
        recorded = {
            stage.name: await _recorded(payloads, run_id, stage, runs=waits_for_jobs(stage, done))
            for stage in stages
            if stage in broken or has_failed(stage, done) or waits_for_jobs(stage, done)
        }
        return observation(description(execution), outline, done, recorded)

    async def running_versions(self, function: str) -> set[str]:
        """The versions of a durable function that executions are running with."""
        running = self._listed(function, Statuses=["RUNNING"])
        return {each["FunctionArn"].rpartition(":")[2] async for each in running}

    async def _found(self, function: str, run_id: str) -> Answer:
        found = await self.find(function, run_id)
        if found is None:
            raise AwsError(f"{function} has no execution {run_id}", _NO_EXECUTION)
        return found

    async def _execution(self, arn: str) -> Answer:
        answer: Answer = await self._ask("get_durable_execution", DurableExecutionArn=arn)
        return answer

    async def _listed(self, function: str, **wanted: Any) -> AsyncIterator[Answer]:
        ask = partial(self._ask, "list_durable_executions_by_function")
        async for page in _pages(ask, FunctionName=function, **wanted):
            for each in page.get("DurableExecutions", ()):
                yield each

    async def _ask(self, operation: str, **given: Any) -> Any:
        try:
            return await self._account.ask("lambda", operation, **given)
        except AwsError as error:
            if error.code == _GONE:
                gone = _NO_EXECUTION if "DurableExecutionArn" in given else _NO_FUNCTION
                raise AwsError(str(error), gone) from error
            raise


async def events(ask: Ask, arn: str) -> AsyncIterator[Answer]:
    """The history of an execution; ``ask`` asks for a page of it."""
    async for page in _pages(ask, DurableExecutionArn=arn, IncludeExecutionData=True):
        for each in page["Events"]:
            yield each


async def _pages(ask: Ask, **given: Any) -> AsyncIterator[Answer]:
    more: dict[str, Any] = {}
    while True:
        page = await ask(MaxItems=_PAGE, **given, **more)
        yield page
        if not page.get("NextMarker"):
            return
        more = {"Marker": page["NextMarker"]}


async def _recorded(payloads: Payloads, run_id: str, stage: Outlined, *, runs: bool) -> Recorded:
    """The recorded failures of a stage's items without a result; then also its results.

    ``runs``: its jobs are running, so that its results are wanted in any case.
    """
    recorded: list[Failure] = []
    for call in stage.calls:
        recorded += await payloads.failures(run_id, call)
    if not recorded and (stage.label is None or not runs):
        return Recorded((), None)
    if stage.label is None:
        key = payloads.output_key(run_id, stage.calls[-1])
        return Recorded(() if await payloads.store.exists(key) else recorded, None)
    done = await payloads.indexes(run_id, stage.calls[-1], "output.pkl.gz")
    left = (each for each in recorded if each.index not in done)
    return Recorded(sorted(left, key=lambda each: each.index or 0), len(done))
