"""Workers of a Dask cluster that come, go, and are not alike."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import dask_flows as flows
import pytest
from aiobotocore.session import get_session
from clusters import Cluster
from serving import until

from lokki import Engine, RunFailed
from lokki.engine.cluster.dask import imported
from lokki.errors import ClusterError
from lokki.store.local import LocalStore
from lokki.store.s3 import S3Store

pytestmark = pytest.mark.timeout(180)  # it starts interpreters, one after the other

TLS = "DASK_DISTRIBUTED__COMM__TLS__"
ALL = list(range(flows.COUNT))


def certified(**files):
    """Inside this context, Dask is configured so for TLS; it must have been imported by then."""
    imported("distributed")
    names = {name.replace("_", "."): file for name, file in files.items()}
    return imported("dask").config.set(
        {f"distributed.comm.tls.{name}": file for name, file in names.items()}
    )


def told(engine, run_id):
    return [line.message for line in engine.journal.history.lines(run_id)]


@pytest.mark.asyncio
async def test_workers_that_leave_cost_no_attempt(cluster, tmp_path):
    def leave(engine, run_id):
        until(lambda: begun(engine, run_id) == 1, "item 9 runs")
        cluster.retire("leaving-1")
        cluster.start_worker("leaving-2", "--nanny", has="leaving")
        until(lambda: begun(engine, run_id) == 2, "item 9 runs again")
        cluster.terminate("leaving-2")
        cluster.start_worker("leaving-3", has="leaving")
        until(lambda: begun(engine, run_id) == 3, "item 9 runs again")
        (tmp_path / "gone").touch()

    def begun(engine, run_id):
        return told(engine, run_id).count("here it leaves")

    cluster.start_worker("leaving-1", has="leaving")
    async with Engine(cluster=cluster.address) as engine:
        handle = engine.submit(flows.leaving, {"gone": str(tmp_path / "gone")})
        leaving = asyncio.create_task(asyncio.to_thread(leave, engine, handle.run_id))
        assert await handle.result() == ALL
        await leaving
    cluster.kill("leaving-3")


class Counting(S3Store):
    """Knows what the engine itself has put into the bucket."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.own = []

    async def put(self, key, data):
        self.own.append(key)
        await super().put(key, data)


@pytest.mark.asyncio
async def test_large_inputs_and_results_pass_through_the_payload_store(cluster, tmp_path, aws):
    async with get_session().create_client("s3", endpoint_url=aws) as client:
        where = {"LocationConstraint": "eu-north-1"}
        await client.create_bucket(Bucket="of-dask", CreateBucketConfiguration=where)
    folder = LocalStore(tmp_path / "large")
    bucket = Counting("of-dask", "team", endpoint=aws)
    for store in (folder, bucket):
        async with Engine(cluster=cluster.address, payloads=store) as engine:
            handle = engine.submit(flows.storing, {"folder": str(tmp_path / "large")})
            found = await handle.result()
            assert [size for size, _ in found] == [1_500_000] * 3
            assert store is bucket or all(number > 0 for _, number in found)
            assert not any("cannot reach" in each for each in told(engine, handle.run_id))
            keys = await store.list(f"storing/runs/{handle.run_id}")
            assert len([each for each in keys if "/large/" in each]) == 3
            assert not any("/orders.d/" in each for each in keys)
    assert len([each for each in bucket.own if "/orders.d/" in each]) == 3
    assert not any("/large/" in each for each in bucket.own)
    await bucket.close()


@pytest.mark.asyncio
async def test_async_steps_run_there_if_they_say_so(cluster):
    async with Engine(cluster=cluster.address) as engine:
        found = await engine.run(flows.awaiting)
    assert [number for number, _ in found] == [2 * (number + 1) for number in ALL]
    assert os.getpid() not in {process for _, process in found}


@pytest.mark.asyncio
async def test_the_certificates_are_those_of_dasks_configuration(tmp_path):
    key, own = str(tmp_path / "key.pem"), str(tmp_path / "own.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj"]
        + ["/CN=lokki", "-keyout", key, "-out", own],
        check=True,
        capture_output=True,
    )
    variables = {f"{TLS}CA_FILE": own, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}
    for role in ("SCHEDULER", "WORKER"):
        variables |= {f"{TLS}{role}__CERT": own, f"{TLS}{role}__KEY": key}
    (tmp_path / "met").mkdir()
    given = {"place": str(tmp_path / "met"), "token": "tw33t"}
    client = {"ca-file": own, "client_cert": own, "client_key": key}
    with Cluster(tmp_path, "tls", **variables) as encrypted:
        encrypted.start_worker("only", threads=2)
        with certified(**client):
            async with Engine(cluster=encrypted.address) as engine:
                handle = engine.submit(flows.secretive, given)
                assert await handle.result() == [(0, 5), (1, 5)]
                assert not any("unencrypted" in each for each in told(engine, handle.run_id))


@pytest.mark.asyncio
async def test_an_encrypted_scheduler_needs_certificates(tmp_path):
    async with Engine(cluster="tls://127.0.0.1:9") as engine:
        with pytest.raises(ClusterError, match=r"needs certificates: .*tls.ca-file, .client.cert"):
            await engine.run(flows.importing)
    (tmp_path / "bad.pem").write_text("no certificate")
    with certified(**dict.fromkeys(("ca-file", "client_cert"), str(tmp_path / "bad.pem"))):
        async with Engine(cluster="tls://127.0.0.1:9") as engine:
            with pytest.raises(ClusterError, match=r"certificates .* cannot be read: SSLError"):
                await engine.run(flows.importing)


@pytest.mark.asyncio
async def test_secrets_in_clear_text_are_told(cluster, tmp_path):
    address = cluster.address.replace("127.0.0.1", "0.0.0.0")  # loopback, but who knows that
    async with Engine(cluster=address) as engine:
        handle = engine.submit(flows.secretive, {"place": str(tmp_path), "token": "tw33t"})
        assert await handle.result() == [(0, 5), (1, 5)]
        found = [each for each in told(engine, handle.run_id) if "unencrypted" in each]
        assert len(found) == 1
        assert address in found[0]


@pytest.mark.asyncio
async def test_what_to_do_about_a_module_that_is_not_there_is_told(cluster):
    async with Engine(cluster=cluster.address) as engine:
        handle = engine.submit(flows.importing)
        with pytest.raises(RunFailed, match="never_imported_here"):
            await handle.result()
        assert any("import it there, or install it" in each for each in told(engine, handle.run_id))


TRACED = """
from opentelemetry import trace
from lokki import flow, step

def here(span):
    return f"{span.trace_id:032x} {span.span_id:016x}"

@step
def numbers():
    return [1, 2, 3]

@step
def apart(number):
    return here(trace.get_current_span().get_span_context())

@flow
def traced():
    return numbers().map(apart)

if __name__ == "__main__":
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    found = traced.run_sync()
    spans = {span.name: span for span in memory.get_finished_spans()}
    assert found == [here(spans["map apart"].context)] * 3, (found, spans)
    assert spans["slice"].parent == spans["map apart"].context
    print("traced")
"""


def test_a_step_is_in_the_span_of_its_stage_on_dask_too(cluster, tmp_path):
    (tmp_path / "traced.py").write_text(TRACED)
    variables = {"LOKKI_LOCAL_CLUSTER": cluster.address}
    done = subprocess.run(
        [sys.executable, "traced.py"],
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("traced\n"), done.stderr
