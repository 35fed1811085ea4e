"""DBOS on an SQLite file. Variants: ``sequential`` and ``gather``, steps of one workflow, and
``queue``, a workflow an item, which its documentation advises for a fan-out.
"""

import asyncio

from dbos import DBOS
from workload import VARIANT, report, source, work

DBOS(
    config={
        "name": "bench",
        "system_database_url": "sqlite:///dbos.sqlite",
        "log_level": "ERROR",
        "run_admin_server": False,
        "application_version": "1",
        "executor_id": "local",
    }
)


@DBOS.step()
def source_step() -> list:
    return source()


@DBOS.step()
def work_step(x):
    return work(x)


@DBOS.step()
async def work_step_async(x):
    return await asyncio.to_thread(work, x)


@DBOS.step()
def total(values: list) -> int:
    return sum(values)


@DBOS.workflow()
def item(x):
    return work_step(x)


@DBOS.workflow()
def sequential() -> int:
    return total([work_step(x) for x in source_step()])


@DBOS.workflow()
async def gather() -> int:
    values = await asyncio.to_thread(source)
    return sum(await asyncio.gather(*(work_step_async(x) for x in values)))


@DBOS.workflow()
def queue() -> int:
    handles = [DBOS.enqueue_workflow("items", item, x) for x in source_step()]
    return total([handle.get_result() for handle in handles])


async def gathered() -> int:
    handle = await DBOS.start_workflow_async(gather)
    return await handle.get_result()


DBOS.launch()
if VARIANT == "queue":
    DBOS.register_queue("items")
runs = {"sequential": sequential, "gather": lambda: asyncio.run(gathered()), "queue": queue}
report(runs[VARIANT])
DBOS.destroy()
