"""DBOS as one of several hosts: ``hosts_dbos.py URL NAME COUNT CLIENTS``.

Says ``ready``, waits for a line, enqueues COUNT workflows of one step from CLIENTS threads, and
prints how many seconds it took until they had ended, whichever host ran them.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from dbos import DBOS

_, URL, NAME, COUNT, CLIENTS = sys.argv
DBOS(
    config={
        "name": "bench",
        "system_database_url": URL,
        "log_level": "ERROR",
        "run_admin_server": False,
        "application_version": "1",
        "executor_id": NAME,
    }
)


@DBOS.step()
def one() -> int:
    return 1


@DBOS.workflow()
def single() -> int:
    return one()


def finish(count: int) -> float:
    began = perf_counter()
    with ThreadPoolExecutor(int(CLIENTS)) as pool:
        handles = list(pool.map(lambda _: DBOS.enqueue_workflow("runs", single), range(count)))
    assert sum(handle.get_result() for handle in handles) == count
    return perf_counter() - began


DBOS.launch()
DBOS.register_queue("runs")
finish(8)
print("ready", flush=True)
sys.stdin.readline()
print(finish(int(COUNT)), flush=True)
sys.stdin.readline()
DBOS.destroy()
