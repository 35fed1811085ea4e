"""What an execution uses, and what that costs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lokki.builder import prices
from lokki.config import Config

LISTED_AT_ONCE = 1_000
"""Keys of one LIST."""


@dataclass(frozen=True, slots=True)
class Row:
    """One billed item; ``orchestrates``: it is not the work of steps, but what calls them."""

    what: str
    amount: str
    dollars: float
    orchestrates: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """Usage, limits that come near (each with what to change), and notes.

    ``charged`` is the number of ``unit``, state transitions or operations of a durable function;
    ``seconds``: those that the maps take, one after the other, at least.
    """

    rows: tuple[Row, ...]
    charged: int
    unit: str
    seconds: float
    limits: tuple[str, ...]
    notes: tuple[str, ...]
    second_hand: str | None = None
    """The date of those prices in it that are second-hand."""
    prices_date: str = prices.DATE
    prices_region: str = prices.REGION

    @property
    def dollars(self) -> float:
        return sum(row.dollars for row in self.rows)

    @property
    def orchestration(self) -> float:
        """The dollars of what calls the steps."""
        return sum(row.dollars for row in self.rows if row.orchestrates)


@dataclass(slots=True)
class Use:
    """What an execution uses."""

    transitions: int = 0
    express: int = 0
    express_gb_seconds: float = 0.0
    operations: int = 0
    """Of a durable function, which also writes ``written`` bytes and runs ``runs`` times."""
    written: float = 0.0
    runs: int = 0
    run_gb_seconds: float = 0.0
    invocations: int = 0
    gb_seconds: float = 0.0
    jobs: int = 0
    vcpu_seconds: float = 0.0
    job_gb_seconds: float = 0.0
    host_seconds: float = 0.0
    """vCPU-seconds of jobs on EC2, whose hosts are paid."""
    storage: dict[str, float] = field(default_factory=lambda: {"Lambda": 0.0, "Batch": 0.0})
    """GB-seconds beyond what is included."""
    writes: int = 0
    reads: int = 0


def rows_of(use: Use, config: Config) -> Iterator[Row]:
    architecture = config.lambda_.architecture
    gb_second = prices.LAMBDA_GB_SECOND[architecture]
    for what, amount, dollars in _orchestrating(use, config, gb_second):
        yield Row(what, amount, dollars, orchestrates=True)
    if use.invocations:
        requests = use.invocations * prices.LAMBDA_REQUEST
        yield Row("Lambda invocations", f"{use.invocations:,}", requests)
        yield Row("Lambda GB-seconds", f"{use.gb_seconds:,.0f}", use.gb_seconds * gb_second)
    if use.jobs:
        vcpu = use.vcpu_seconds * prices.FARGATE_VCPU_SECOND[architecture]
        memory = use.job_gb_seconds * prices.FARGATE_GB_SECOND[architecture]
        yield Row("Batch vCPU-seconds (Fargate)", f"{use.vcpu_seconds:,.0f}", vcpu)
        yield Row("Batch GB-seconds (Fargate)", f"{use.job_gb_seconds:,.0f}", memory)
    for service, used in use.storage.items():
        if used:
            dollars = used * prices.STORAGE_GB_SECOND[service]
            yield Row(f"{service} GB-seconds of disk", f"{used:,.0f}", dollars)
    yield Row("S3 writes and lists", f"{use.writes:,}", use.writes * prices.S3_WRITE)
    yield Row("S3 reads", f"{use.reads:,}", use.reads * prices.S3_READ)


def _orchestrating(use: Use, config: Config, gb_second: float) -> Iterator[tuple[str, str, float]]:
    if use.transitions:
        dollars = use.transitions * prices.STATE_TRANSITION
        yield "state transitions", f"{use.transitions:,}", dollars
    if use.express:
        requests = use.express * prices.EXPRESS_REQUEST
        dollars = use.express_gb_seconds * prices.EXPRESS_GB_SECOND
        yield "express executions", f"{use.express:,}", requests
        yield "express GB-seconds", f"{use.express_gb_seconds:,.0f}", dollars
    if use.operations:
        gb = use.written / 1e9
        months = gb * config.aws.execution_retention / prices.DAYS_OF_A_MONTH
        kept = months * prices.DURABLE_GB_MONTH
        dollars = use.operations * prices.DURABLE_OPERATION
        yield "durable operations", f"{use.operations:,}", dollars
        yield "durable MB written", f"{use.written / 1e6:,.1f}", gb * prices.DURABLE_GB_WRITTEN
        yield "durable MB-months kept", f"{months * 1e3:,.1f}", kept
        yield "orchestrator runs", f"{use.runs:,}", use.runs * prices.LAMBDA_REQUEST
        dollars = use.run_gb_seconds * gb_second
        yield "orchestrator GB-seconds", f"{use.run_gb_seconds:,.1f}", dollars


def uncounted(use: Use, config: Config) -> Iterator[str]:
    """What makes the sum too low or too high."""
    if use.host_seconds:
        yield (
            f"jobs on EC2 use {use.host_seconds:,.0f} vCPU-seconds, which are not in the sum: "
            "their hosts are paid, by type, as long as they are there"
        )
    if config.batch.spot and use.jobs:
        yield "spot prices vary: the sum has those of Fargate on demand, which are higher"
    if config.aws.kms_key is not None:
        yield "calls of KMS are not in the sum: see https://aws.amazon.com/kms/pricing"
