"""What goes to AWS: the package, a function's start, requests to S3, an aggregation, compiling."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

from timing import (
    HERE,
    NO_BOUND,
    ROOT,
    Bound,
    alternate,
    arguments,
    column,
    directory,
    environment,
    megabytes,
    ratios,
    seconds,
    spread,
    table,
    times,
)

sys.path.insert(0, str(ROOT / "examples"))
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from birds import birds_flow

from lokki import FlowGraph, step
from lokki.builder.builder import build
from lokki.builder.template import template
from lokki.config import load
from lokki.rehearse.environment import runtime_python
from lokki.runtime.event import parse
from lokki.runtime.invocation import Invocation
from lokki.runtime.payloads import Payloads
from lokki.store.codec import pack, unpack
from lokki.store.keys import output_key
from lokki.store.s3 import S3Store

PACKAGE = Bound(25e6, None, megabytes)
IMPORT = Bound(1.15, None, times)
CALLS = Bound(2, None, lambda value: f"{value:.2f}")
AGGREGATION = Bound(1.5, None, times)
COMPILE = Bound(5.0, None, times)
BUCKET = "bench"
AT_A_TIME = 64


def main() -> None:
    options = arguments(__doc__)
    with directory() as place:
        package(place, options.repeat)
        with s3() as endpoint:
            calls_per_item(endpoint, 50 if options.quick else 500)
            aggregation(endpoint, 200 if options.quick else 10_000, 3)
    compiling(options.repeat)


# ---- the package and its start -------------------------------------------------------------------


def package(place: Path, repeat: int) -> None:
    config = replace(load({"lambda.package_type": "zip"}), build_dir=str(place / "build"))
    began = perf_counter()
    made = build(birds_flow(), config).package
    took = perf_counter() - began
    assert made is not None
    unpacked = place / "unpacked"
    with zipfile.ZipFile(made.file) as opened:
        opened.extractall(unpacked)
    rows = [
        ("package of birds, zipped", megabytes(made.size), *PACKAGE.cells(made.size)),
        ("  unpacked", megabytes(made.unpacked), *NO_BOUND),
        *((f"  {part.name}", megabytes(part.zipped), *NO_BOUND) for part in made.parts[:6]),
        ("build, with an empty build folder", seconds(took), *NO_BOUND),
    ]
    python = str(runtime_python())

    def imports(code: str) -> float:
        """Seconds that a statement takes in a fresh process of the managed runtime."""
        timed = (
            f"import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"
        )
        env = environment(LOKKI_STEP_NAME="flap_bird", LOKKI_MODULE_NAME="birds",
                          LOKKI_ARTIFACT_BUCKET=BUCKET, AWS_DEFAULT_REGION="us-east-1")  # fmt: skip
        done = subprocess.run(
            [python, "-c", timed], cwd=unpacked, env=env, capture_output=True, check=True
        )
        return float(done.stdout)

    turns = alternate(
        4 * repeat,
        lambda: imports("import lokki"),
        lambda: imports("import aiobotocore.session, aiobotocore.config"),
        lambda: imports("import handler"),
    )
    slower = ratios(turns, 2, 1)
    rows += [
        ("import lokki", seconds(column(turns, 0)), *NO_BOUND),
        ("import aiobotocore", seconds(column(turns, 1)), *NO_BOUND),
        ("import handler (both, and the flow)", seconds(column(turns, 2)), *NO_BOUND),
        ("  to aiobotocore, turn by turn", spread(slower), *IMPORT.cells(median(slower))),
    ]
    table(f"What is deployed; medians of {4 * repeat} processes", ("", "", "bound", ""), rows)


# ---- S3 ------------------------------------------------------------------------------------------


@contextmanager
def s3() -> Iterator[str]:
    """An S3 in another process, with a bucket."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    os.environ.update(
        AWS_ACCESS_KEY_ID="bench",
        AWS_SECRET_ACCESS_KEY="bench",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ENDPOINT_URL=endpoint,
    )
    process = subprocess.Popen(
        [sys.executable, str(HERE / "s3_server.py"), str(port)],
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            with suppress(OSError):
                requests(endpoint)
                break
            sleep(0.05)
        asyncio.run(make_bucket())
        yield endpoint
    finally:
        process.kill()
        process.wait()


async def make_bucket() -> None:
    async with get_session().create_client("s3") as client:
        await client.create_bucket(Bucket=BUCKET)


def requests(endpoint: str) -> int:
    """How many requests there were since this was asked last."""
    with urllib.request.urlopen(f"{endpoint}/bench-requests") as answer:
        return int(answer.read())


def calls_per_item(endpoint: str, items: int) -> None:
    """What each further item of a map and its aggregation asks of S3."""
    few, many = (_asked(endpoint, count) for count in (items, 2 * items))
    each = [(more - less) / items for more, less in zip(many, few, strict=True)]
    table(
        f"Requests to S3 for each further item of a map: of {2 * items} instead of {items}",
        ("", "", "bound", ""),
        (
            ("its own call", f"{each[0]:.2f}", *NO_BOUND),
            ("the aggregation", f"{each[1]:.2f}", *NO_BOUND),
            ("together", f"{sum(each):.2f}", *CALLS.cells(sum(each))),
        ),
    )


def _asked(endpoint: str, items: int) -> tuple[int, int]:
    """Requests of a map over ``items``, invoked one by one as Lambda does, and of what follows."""
    graph = birds_flow()
    flow = {"run_id": f"calls-{items}", "params": {}}
    with asyncio.Runner() as loop, redirect_stdout(StringIO()):
        payloads = Payloads(S3Store(BUCKET), graph.name)
        work, collect = (
            Invocation(birds_flow, graph.structure, name, payloads, loop, __file__)
            for name in ("flap_bird", "join_birds")
        )
        birds = [f"bird {number}" for number in range(items)]
        loop.run(payloads.keep_manifest(flow["run_id"], "get_birds", birds))
        requests(endpoint)
        for index, bird in enumerate(birds):
            work.run(parse({"flow": flow, "index": index, "input": bird, "attempt": 0}))
        mapped = requests(endpoint)
        collect.run(parse({"flow": flow, "input": {"map": "flap_bird"}, "attempt": 0}))
        collected = requests(endpoint)
        loop.run(payloads.store.close())
    return mapped, collected


def aggregation(endpoint: str, items: int, repeat: int) -> None:
    """Read all results of a map, beside a bare download of the same objects."""
    keys = [output_key("birds-flow", "agg", "flap_bird", index) for index in range(items)]
    graph = birds_flow()
    stage = graph.stages[1]

    async def fill() -> None:
        async with S3Store(BUCKET) as store:
            payloads = Payloads(store, graph.name)
            await payloads.keep_manifest("agg", "get_birds", list(range(items)))
            places = iter(enumerate(keys))

            async def put() -> None:
                for index, key in places:
                    await store.put(key, pack(f"flappy {index}"))

            await asyncio.gather(*(put() for _ in range(AT_A_TIME)))

    async def ours() -> None:
        async with S3Store(BUCKET) as store:
            results, _ = await Payloads(store, graph.name).map_results("agg", stage, "get_birds")
            assert len([unpack(each) for each in results]) == items

    async def bare() -> None:
        config = AioConfig(max_pool_connections=AT_A_TIME)
        async with get_session().create_client("s3", config=config) as client:
            places = iter(keys)

            async def get() -> None:
                for key in places:
                    answer = await client.get_object(Bucket=BUCKET, Key=key)
                    async with answer["Body"] as body:
                        await body.read()

            await asyncio.gather(*(get() for _ in range(AT_A_TIME)))

    def timed(what: object) -> float:
        began = perf_counter()
        asyncio.run(what())  # type: ignore[operator]
        return perf_counter() - began

    asyncio.run(fill())
    turns = alternate(repeat, lambda: timed(ours), lambda: timed(bare))
    ratio = ratios(turns, 0, 1)
    table(
        f"An aggregation over {items} results; medians of {repeat}",
        ("", "", "bound", ""),
        (
            ("aggregation: list, read, unpickle", seconds(column(turns, 0)), *NO_BOUND),
            (f"bare aiobotocore, {AT_A_TIME} at a time", seconds(column(turns, 1)), *NO_BOUND),
            ("  ratio, turn by turn", spread(ratio), *AGGREGATION.cells(median(ratio))),
        ),
    )


# ---- compiling -----------------------------------------------------------------------------------


@step(retry={"retries": 3, "exceptions": (OSError,)})
def work(value: object = None) -> object:
    return value


def compiling(repeat: int) -> None:
    chain = work()
    for _ in range(14):
        chain = chain.map(work).agg(work)
    graph = FlowGraph("thirty", (*chain.stages, *chain.stages[:1]))
    assert len(graph.stages) == 30
    config = load({"aws.artifact_bucket": BUCKET})

    document = template(graph, config, module="thirty", python="3.13").to_json()

    def compiled() -> float:
        began = perf_counter()
        template(graph, config, module="thirty", python="3.13").to_json()
        return perf_counter() - began

    def written() -> float:
        began = perf_counter()
        json.dumps(document, indent=2)
        return perf_counter() - began

    turns = alternate(4 * repeat, compiled, written)
    ratio = ratios(turns, 0, 1)
    table(
        f"Compiling a flow of 30 stages, 14 maps among them; medians of {4 * repeat}",
        ("", "", "bound", ""),
        (
            ("template and state machine", seconds(column(turns, 0)), *NO_BOUND),
            ("json.dumps of them", seconds(column(turns, 1)), *NO_BOUND),
            ("  ratio, turn by turn", spread(ratio), *COMPILE.cells(median(ratio))),
        ),
    )


if __name__ == "__main__":
    main()
