"""What OpenTelemetry gets of runs: spans, the context of steps, metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

FLOW = """
from opentelemetry import trace
from lokki import flow, step

def here():
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x} {span.span_id:016x}"

@step
def numbers():
    return [1, 2, 3]

@step
def thread(number):
    return here()

@step
async def loop(value):
    return [value, here()]

@step(executor="process")
def process(value):
    return [value, here()]

@step
def both(values):
    return values

@step
def fails(values):
    raise ValueError("tw33t is wrong")

@flow
def traced():
    return numbers().map(thread).agg(both).map(loop).agg(both).map(process)

@flow
def failing():
    return numbers().next(fails)
"""
PROGRAM = (
    FLOW
    + """
if __name__ == "__main__":
    import json
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from lokki import RunFailed

    memory, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    with trace.get_tracer("program").start_as_current_span("program"):
        values = traced.run_sync()
        try:
            failing.run_sync()
        except RunFailed:
            pass
    spans = [json.loads(span.to_json()) for span in memory.get_finished_spans()]
    points = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    key = " ".join([metric.name, *map(str, point.attributes.values())])
                    points[key] = getattr(point, "value", None)
    print(json.dumps([values, spans, points]))
"""
)


def ran(folder, *command, **variables):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Results, spans and metrics of a program with OpenTelemetry that runs two flows."""
    folder = tmp_path_factory.mktemp("traced")
    (folder / "program.py").write_text(PROGRAM)
    journal = str(folder / "lokki.db")
    done = ran(folder, "program.py", LOKKI_LOCAL_JOURNAL=journal)
    return json.loads(done.stdout.splitlines()[-1])


def named(spans, name):
    return [span for span in spans if span["name"] == name]


def identity(span):
    context = span["context"]
    return f"{context['trace_id'][2:]} {context['span_id'][2:]}"


def test_stages_are_below_their_run_and_the_run_below_the_callers_span(told):
    _, spans, _ = told
    [program], [run] = named(spans, "program"), named(spans, "run traced")
    assert run["parent_id"] == program["context"]["span_id"]
    assert run["attributes"]["lokki.flow"] == "traced"
    for stage in ("task numbers", "map thread", "map loop", "map process"):
        [found] = [
            each for each in named(spans, stage) if each["parent_id"] == run["context"]["span_id"]
        ]
        assert found["attributes"]["lokki.items"] == (1 if stage.startswith("task") else 3)
        assert found["status"]["status_code"] == "UNSET"


def test_every_item_is_in_a_slice_of_its_stage(told):
    _, spans, _ = told
    for stage in ("map thread", "map loop", "map process"):
        [above] = named(spans, stage)
        slices = [
            span
            for span in named(spans, "slice")
            if span["parent_id"] == above["context"]["span_id"]
        ]
        assert sum(each["attributes"]["lokki.items"] for each in slices) == 3
        for each in slices:
            assert above["start_time"] <= each["start_time"] <= each["end_time"]
            assert each["end_time"] <= above["end_time"]


def test_a_step_is_in_the_span_of_its_stage_in_whatever_lane_it_runs(told):
    values, spans, _ = told
    expected = [
        identity(named(spans, stage)[0]) for stage in ("map thread", "map loop", "map process")
    ]
    assert values == [[[expected[0], expected[1]], expected[2]]] * 3


def test_what_fails_has_the_status_of_an_error(told):
    _, spans, _ = told
    [run], [stage] = named(spans, "run failing"), named(spans, "task fails")
    assert run["status"]["status_code"] == stage["status"]["status_code"] == "ERROR"
    assert "ValueError: tw33t is wrong" in run["status"]["description"]


def test_runs_and_items_are_counted(told):
    _, _, points = told
    assert points["lokki.runs traced succeeded"] == points["lokki.runs failing failed"] == 1
    assert points["lokki.items traced process succeeded"] == 3
    assert points["lokki.items failing fails failed"] == 1
    assert "lokki.run.duration traced succeeded" in points


BROKEN = """
from opentelemetry import propagate
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

class Broken(SpanProcessor):
    def on_start(self, span, parent_context=None):
        if span.name.split()[0] in BREAKS:
            raise OSError("no collector")

class NoText(propagate.get_global_textmap().__class__):
    def inject(self, *arguments, **named):
        raise OSError("no header")

if __name__ == "__main__":
    provider = TracerProvider()
    provider.add_span_processor(Broken())
    trace.set_tracer_provider(provider)
    propagate.set_global_textmap(NoText([]))
    for BREAKS in (["run"], ["task", "map"], ["slice"]):
        print(len(traced.run_sync()))
"""


def test_what_the_program_has_added_fails_no_run(tmp_path):
    (tmp_path / "program.py").write_text(FLOW + BROKEN)
    done = ran(tmp_path, "program.py", LOKKI_LOCAL_JOURNAL=str(tmp_path / "lokki.db"))
    assert done.stdout.split()[-3:] == ["3", "3", "3"]


def test_the_command_exports_to_the_endpoint_of_the_standard_variable(tmp_path):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            """Nothing on stderr."""

    (tmp_path / "birds.py").write_text(FLOW)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        run = ("-m", "lokki", "run", "birds.py:traced")
        variables = {"LOKKI_LOCAL_JOURNAL": str(tmp_path / "lokki.db")}
        ran(tmp_path, *run, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **variables)
        server.shutdown()
        thread.join()
    spans = [
        span
        for request in received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {"run traced", "map process", "slice"} <= {span.name for span in spans}
    assert len({span.trace_id for span in spans}) == 1


def test_without_opentelemetry_in_the_program_nothing_of_it_is_imported(tmp_path):
    (tmp_path / "plain.py").write_text(
        "import sys\nfrom lokki import flow, step\n"
        "@step\ndef one(): return 1\n@flow\ndef plain(): return one()\n"
        "print(plain.run_sync(), [each for each in sys.modules if 'opentelemetry' in each])\n"
    )
    done = ran(tmp_path, "plain.py", LOKKI_LOCAL_JOURNAL=str(tmp_path / "lokki.db"))
    assert done.stdout.splitlines()[-1] == "1 []"
