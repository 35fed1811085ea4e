"""Prefect: ``task.map`` in threads, with its ephemeral server."""

from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner
from workload import CONCURRENCY, report, source, work

source_task = task(source)
work_task = task(work)


@task
def total(values: list) -> int:
    return sum(values)


@flow(task_runner=ThreadPoolTaskRunner(max_workers=CONCURRENCY))
def peer_flow() -> int:
    values = source_task()
    return total([future.result() for future in work_task.map(values)])


report(peer_flow)
