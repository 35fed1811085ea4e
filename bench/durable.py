"""A durable function: operations, runs and requests on AWS's local runner, its import, its price.

Needs a Python that Lambda has durable functions for. Nothing here runs on AWS: operations, runs and
requests are counted, but seconds are those of this machine, whose runner has a few workers at most.
"""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from threading import Lock
from time import perf_counter
from typing import Any

from mapped import mapped
from moto.server import DomainDispatcherApplication
from timing import (
    NO_BOUND,
    Bound,
    alternate,
    arguments,
    check,
    column,
    directory,
    environment,
    ratios,
    seconds,
    spread,
    table,
    times,
)

from lokki.builder.builder import build
from lokki.builder.estimate import estimate_of
from lokki.builder.usage import Estimate
from lokki.config import Config, load
from lokki.rehearse.environment import runtime_python
from lokki.rehearse.rehearsal import BUCKET, Rehearsal, rehearsing
from lokki.runtime.event import BUCKET as BUCKET_NAME
from lokki.runtime.event import FLOW, MODULE, ORCHESTRATION, STEP

RUN = "HTTP_X_DEX_HANDLER_INVOKE"
"""The header of a call that is a run of the orchestrator; the start of an execution has none."""
OPERATIONS = Bound(0.02, None, lambda value: f"{value:.4f}")
IMPORT = Bound(1.3, None, times)
PRICE = Bound(0.3, None, lambda value: f"{value:.5f}\N{MULTIPLICATION SIGN}")
SIZES = ((100, 1), (1_000, 10), (10_000, 100), (10_000, 0))
"""Items, and items of a slice; 0: as many as lokki gives it."""
PRICED = ((10_000, 1.0), (1_000_000, 0.1))


def main() -> None:
    options = arguments(__doc__)
    with directory() as place:
        config = replace(
            load({"lambda.package_type": "zip", "aws.target": "durable"}),
            build_dir=str(place / "build"),
        )
        running(SIZES[:1] if options.quick else SIZES, config)
        importing(place, config, options.repeat)
    pricing()


# ---- runs ----------------------------------------------------------------------------------------


@dataclass
class Counted:
    """What was requested of AWS: operations by id, bytes of checkpoints, requests by kind."""

    operations: set[str] = field(default_factory=set)
    written: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    run_seconds: float = 0.0
    lock: Lock = field(default_factory=Lock)

    def add(self, environ: Mapping[str, Any], body: bytes) -> None:
        """Count a request."""
        path = environ["PATH_INFO"]
        with self.lock:
            if path.endswith("/checkpoint"):
                self.requests["checkpoints"] += 1
                self.written += len(body)
                self.operations |= {each["Id"] for each in json.loads(body)["Updates"]}
            elif path.endswith("/invocations"):
                self.requests["runs" if RUN in environ else "calls"] += 1
            elif path.startswith(f"/{BUCKET}"):
                self.requests["S3"] += 1


@contextmanager
def counting() -> Iterator[Callable[[], Counted]]:
    """Count what moto's servers are asked; the function begins anew, and returns the count."""
    answered = DomainDispatcherApplication.__call__
    found = [Counted()]

    def answering(app: Any, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        counted = found[0]
        counted.add(environ, body)
        began = perf_counter()
        answer: Iterable[bytes] = answered(app, environ, start_response)
        if RUN in environ:
            counted.run_seconds += perf_counter() - began
        return answer

    def begin() -> Counted:
        found[0] = Counted()
        return found[0]

    DomainDispatcherApplication.__call__ = answering
    try:
        yield begin
    finally:
        DomainDispatcherApplication.__call__ = answered


def running(sizes: Iterable[tuple[int, int]], config: Config) -> None:
    with counting() as begin, rehearsing() as opened:
        rows = [asyncio.run(row(opened, begin, *each, config)) for each in sizes]
    table(
        "A map of trivial items as a durable function, on AWS's local runner; S3 in this process",
        (
            "items", "in a slice", "operations", "an item", "bound", "", "orchestrator runs",
            "their time", "invocations of steps", "checkpoints", "S3 requests an item", "wall time",
        ),
        rows,
    )  # fmt: skip


async def row(
    opened: Rehearsal, begin: Callable[[], Counted], items: int, size: int, config: Config
) -> tuple[str, ...]:
    found = begin()  # the few requests of the deployment are among them
    params = {"items": items, "size": size}
    done = await opened.run(mapped(**params), params, config)
    check((done.status, done.result), ("SUCCEEDED", items * (items - 1)))
    operations = len(found.operations) + 1  # its start
    each = operations / items
    bound = OPERATIONS.cells(each) if items >= 10_000 else NO_BOUND
    asked = found.requests
    return (
        f"{items:,}", f"{size or 'default'}", f"{operations:,}", f"{each:.4f}", *bound,
        f"{asked['runs']:,}", seconds(found.run_seconds), f"{asked['calls'] - 1:,}",
        f"{asked['checkpoints']:,} of {found.written / 1e3:,.0f} KB",
        f"{asked['S3'] / items:.2f}", seconds(done.seconds),
    )  # fmt: skip


# ---- its import ----------------------------------------------------------------------------------


def importing(place: Path, config: Config, repeat: int) -> None:
    """The orchestrator's module beside that of the steps' functions, from one package."""
    config = replace(config, aws=replace(config.aws, artifact_bucket=BUCKET))
    made = build(mapped(), config).package
    assert made is not None
    unpacked = place / "unpacked"
    with zipfile.ZipFile(made.file) as opened:
        opened.extractall(unpacked)
    python = str(runtime_python())
    settings = {"functions": {}, "concurrency": {}}
    env = environment(**{
        FLOW: "mapped", MODULE: "mapped", STEP: "double", BUCKET_NAME: BUCKET,
        ORCHESTRATION: json.dumps(settings), "AWS_DEFAULT_REGION": "us-east-1",
    })  # fmt: skip

    def imports(module: str) -> float:
        """Seconds that a module takes in a fresh process of the managed runtime."""
        timed = (
            "import time; began = time.perf_counter(); "
            f"import {module}; print(time.perf_counter() - began)"
        )
        done = subprocess.run(
            [python, "-c", timed], cwd=unpacked, env=env, capture_output=True, check=True
        )
        return float(done.stdout)

    turns = alternate(4 * repeat, lambda: imports("orchestrator"), lambda: imports("handler"))
    ratio = ratios(turns, 0, 1)
    rows = (
        ("import orchestrator", seconds(column(turns, 0)), *NO_BOUND),
        ("import handler", seconds(column(turns, 1)), *NO_BOUND),
        ("  ratio, turn by turn", spread(ratio), *IMPORT.cells(median(ratio))),
    )
    table(f"Imports; medians of {4 * repeat} processes", ("", "", "bound", ""), rows)


# ---- its price -----------------------------------------------------------------------------------


def pricing() -> None:
    rows = []
    for items, each in PRICED:
        durable, machine = (planned(target, items, each) for target in ("durable", "stepfunctions"))
        ratio = durable.orchestration / machine.orchestration
        for name, plan, bound in (
            ("Step Functions", machine, ("", *NO_BOUND)),
            ("durable function", durable, (PRICE.show(ratio), *PRICE.cells(ratio))),
        ):
            rows.append((
                f"{items:,} of {each:g} s", name, f"{plan.charged:,} {plan.unit}",
                f"{plan.orchestration:.4f}", *bound, f"{plan.dollars:.4f}",
                f"{plan.seconds:,.0f} s",
            ))  # fmt: skip
    table(
        "What `lokki plan` says, in USD",
        ("", "", "charged", "orchestration", "ratio", "bound", "", "together", "at least"),
        rows,
    )


def planned(target: str, items: int, each: float) -> Estimate:
    return estimate_of(mapped(), load({"aws.target": target}), items, each)


if __name__ == "__main__":
    main()
