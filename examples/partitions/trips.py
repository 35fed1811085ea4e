"""Statistics of a year's taxi trips, month by month: Parquet between the steps, SQL in them.

Each month is a partition: a step writes its trips as Parquet, the next one reduces them with DuckDB
to a few rows, and a last one, a Batch job on AWS, puts the year together.
"""

import random

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from lokki import flow, main, step

ZONES = ["Airport", "Centre", "Harbour", "Hills", "Station"]


@step
def list_months(year: int):
    return [f"{year}-{month:02}" for month in range(1, 13)]


@step
def read_trips(month: str, trips: int):
    """The trips of a month as Parquet; a flow of your own would fetch a file."""
    dice = random.Random(month)
    miles = [dice.lognormvariate(0.8, 0.7) for _ in range(trips)]
    fares = [-1.0 if dice.random() < 0.02 else 3 + 2.5 * each for each in miles]
    columns = {
        "month": [month] * trips,
        "zone": dice.choices(ZONES, k=trips),
        "miles": miles,
        "fare": fares,
        "tip": [max(0.0, fare * dice.gauss(0.18, 0.1)) for fare in fares],
    }
    return as_parquet(pa.table(columns))


@step(memory_mb=2048)
def by_zone(trips: bytes):
    """A row for each zone, as Parquet; broken meters are left out."""
    return sql(
        """
        SELECT month, zone, count(*) AS trips, sum(fare) AS fares, sum(tip) AS tips
        FROM given WHERE fare > 0 GROUP BY month, zone
        """,
        [trips],
    )


@step(job_type="batch", vcpu=4, memory_mb=16_384)
def of_year(months: list[bytes]):
    """The zones of the year, the best tips first."""
    rows = sql(
        """
        SELECT zone, sum(trips)::BIGINT AS trips, 100 * sum(tips) / sum(fares) AS percent
        FROM given GROUP BY zone ORDER BY percent DESC
        """,
        months,
    )
    return pq.read_table(pa.BufferReader(rows)).to_pylist()


def sql(query: str, given: list[bytes]) -> bytes:
    """The result of a query over the rows in Parquet, which it calls ``given``; as Parquet."""
    tables = [pq.read_table(pa.BufferReader(each)) for each in given]
    with duckdb.connect() as database:  # one of its own: steps run beside each other
        database.register("given", pa.concat_tables(tables))
        return as_parquet(database.sql(query).to_arrow_table())


def as_parquet(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue().to_pybytes()


@flow(schedule="cron(0 6 2 1 ? *)")
def trips(year: int = 2025, trips: int = 10_000):
    """Which zone tips best, from a year's trips."""
    return list_months().map(read_trips).next(by_zone).agg(of_year)


if __name__ == "__main__":
    main(trips)
