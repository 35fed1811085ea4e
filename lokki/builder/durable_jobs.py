"""What a durable function needs for steps in Batch: which jobs it submits where, and may. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lokki.builder.permissions import runs_statements
from lokki.builder.resources import Statement, ref, sub

_OWN = "arn:${AWS::Partition}:batch:${AWS::Region}:${AWS::AccountId}"


@dataclass(frozen=True, slots=True)
class StepJob:
    """The job of a step: the logical id of its definition, and its queue.

    ``queue`` is a name or an ARN, or the logical id of one that is ``made``.
    """

    definition: str
    queue: str
    made: bool

    @property
    def logical_ids(self) -> list[str]:
        return [self.definition, *([self.queue] if self.made else [])]

    def settings(self) -> dict[str, str]:
        """As the durable function gets it, with ``${…}`` that CloudFormation fills in."""
        queue = f"${{{self.queue}}}" if self.made else self.queue
        return {"definition": f"${{{self.definition}}}", "queue": queue}

    def queue_arn(self) -> Any:
        if self.made:
            return ref(self.queue)
        is_arn = self.queue.startswith("arn:")
        return self.queue if is_arn else sub(f"{_OWN}:job-queue/{self.queue}")


def job_statements(flow: str, jobs: Mapping[str, StepJob]) -> Iterator[Statement]:
    """For a durable function: submit its jobs, look at them, end them, and record them.

    Nothing limits which jobs are looked at, and these have no names that say whose they are
    (https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html).
    """
    if not jobs:
        return
    definitions = tuple(ref(each.definition) for each in jobs.values())
    queues = tuple(_unlike(each.queue_arn() for each in jobs.values()))
    yield Statement(action=("batch:SubmitJob",), resource=(*definitions, *queues))
    yield Statement(action=("batch:TerminateJob",), resource=(sub(f"{_OWN}:job/*"),))
    yield Statement(action=("batch:DescribeJobs",), resource=("*",))
    yield from runs_statements(flow)


def _unlike(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for each in values:
        if each not in found:
            found.append(each)
    return found
