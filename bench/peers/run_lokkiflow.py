"""lokkiflow, whose package has this project's name: a step in threads, results in files."""

import logging

import workload
from lokki.runtime.local import LocalRunner

from lokki import flow, step

logging.disable(logging.INFO)


@step
def source() -> list:
    return workload.source()


@step
def work(x):
    return workload.work(x)


@step
def total(values) -> int:
    return sum(values)


@flow
def peer_flow():
    return source().map(work).agg(total)


workload.report(lambda: LocalRunner(store_type="local").run(peer_flow(), {}))
