"""Plain Python: a thread pool, which records nothing."""

from concurrent.futures import ThreadPoolExecutor

from workload import CONCURRENCY, report, source, work


def run() -> int:
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return sum(pool.map(work, source()))


report(run)
