"""Dask: a local cluster of threads in this process."""

import logging

from dask.distributed import Client, LocalCluster
from workload import CONCURRENCY, report, source, work

logging.getLogger("distributed").setLevel(logging.ERROR)


def main() -> None:
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=CONCURRENCY, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):

        def run() -> int:
            futures = client.map(work, source(), pure=False)
            return client.submit(sum, futures).result()

        report(run)


if __name__ == "__main__":
    main()
