"""The handler of a function: what it reads, calls, stores and answers, against S3."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import json
import logging
import pickle
import random
import sys
import threading
import time
import traceback
from datetime import timedelta
from hashlib import sha256
from types import ModuleType, SimpleNamespace

import polars
import pytest
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from opentelemetry import trace
from werkzeug.serving import make_server

from lokki import RetryLater, current, flow, show, step
from lokki.errors import ConfigError, FingerprintError, LokkiError, ParameterError
from lokki.logging import said
from lokki.model.structure import dumped, of_text
from lokki.runtime.event import MOST_LATER, parse
from lokki.runtime.handler import Handler
from lokki.runtime.loading import loaded
from lokki.store.codec import pack, unpack
from lokki.store.s3 import S3Store

BUCKET = "handled"
CALLS: list[object] = []
BESIDE = compile("log.info('of no interest')", "/var/task/library.py", "exec")


@step
def get_items(limit: int = 2):
    return list(range(limit))


@step(retry={"retries": 1})
def work(item, factor: int = 1):
    CALLS.append((item, current().attempt))
    if item == "bad":
        raise LookupError("no such item: bad")
    if item == "busy":
        raise RetryLater(30, "the service is busy")
    return item * factor if isinstance(item, int) else (item,)


@step
def busy_once(item):
    CALLS.append((item, current().attempt))
    if len(CALLS) == 1:
        raise RetryLater(0.01)
    return item


@flow
def waits_itself(limit: int = 2):
    return get_items().map(busy_once)


@step
def collect(items):
    return [items, [each.index for each in current().failures]]


def noted(call):
    sys.modules[__name__].CALLS.append(call)


@step(cache="1h", retry={"retries": 1})
def reusable(item, factor: int = 1):
    noted((item, current().attempt))
    if item == "bad":
        raise LookupError("no such item: bad")
    return (item, factor)


@step(cache="1h")
def paired(pairs):
    noted(len(pairs))
    return [len(pairs), {"failed": len(current().failures)}]


@flow
def reusing(limit: int = 2, factor: int = 1):
    return get_items().map(reusable, tolerated_failures=1).agg(paired)


@flow
def handled(limit: int = 2, factor: int = 1):
    return get_items().map(work, tolerated_failures=1).agg(collect)


@flow
def in_twos():
    return get_items().map(work, batch_size=2).agg(collect)


@step
def sized(item):
    return "x" * item if isinstance(item, int) else (item,)


@step
def measured(item):
    CALLS.append(item)
    return len(item)


@flow
def in_batches():
    return get_items().map(sized, batch_size=100).next(measured).agg(collect)


ODD = "caf\udcff"
"""The name of a file that is not UTF-8, as Python has it."""


@step
def odd(item):
    if item == "text":
        raise LookupError(f"no such file: {ODD}")
    if item == "frames":
        exec(compile("raise LookupError('in a file')", ODD, "exec"))
    print("reading", ODD)
    return ODD


@flow
def odd_names(name: str = ""):
    return get_items().map(odd).agg(collect)


class Error(Exception):
    """Has the name of `csv.Error`."""


@step(retry={"retries": 1, "exceptions": (OSError, Error)})
def disconnect(item):
    raise csv.Error("no line") if item == "csv" else ConnectionResetError("gone")


@flow
def disconnected():
    return get_items().map(disconnect).agg(collect)


@step
def trace_of(item):
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x} {span.span_id:016x}"


@flow
def traced():
    return get_items().map(trace_of)


@step
async def wait_for(item):
    await asyncio.sleep(0)
    return item


@step(timeout_seconds=0.05)
async def wait_forever(item):
    await asyncio.sleep(60)


@step
def speak(item):
    print("got", item)
    logging.getLogger("spoken").info("by the way")
    exec(BESIDE, {"log": logging.getLogger("library")})
    logging.getLogger("spoken").warning("hm\nhm")
    sys.stderr.write("the end")


@flow
def spoken():
    return get_items().map(speak)


@step
def shows(item):
    """Ends only once what it has shown is stored."""
    show("# so far", "Progress")
    for _ in range(1_000):
        if CALLS[0].keys("showing/runs/r1/shown.d"):
            break
        time.sleep(0.02)
    return polars.DataFrame({"a": [item]})


@flow
def showing():
    return get_items().map(shows)


@step
def leave(item):
    raise SystemExit(3)


@flow
def others():
    return get_items().next(wait_for).next(wait_forever).next(leave)


@step(retry={"retries": 2, "exceptions": (ConnectionError,)})
def gather(items):
    raise ExceptionGroup("two at once", [ConnectionResetError(), ExceptionGroup("in", items)])


@flow
def grouped():
    return get_items().next(gather)


class Lost(Exception):
    def __init__(self, code, detail):
        super().__init__(f"{code}: {detail}")


@step(retry={"retries": 1})
def probe(item):
    return Lost(item, "gone") if item == "bad" else io.BytesIO(b"PNG")


@step
async def lines(item):
    return csv.reader(["1", "2"])


@step
def stubborn(item):
    return Stubborn()


class Stubborn:
    def __reduce__(self):
        raise SystemExit(4)


@flow
def stored():
    return get_items().next(probe).next(lines).next(stubborn)


class Gateway:
    """The bucket, as tests look at it."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def _with_store(self, use):
        async def run():
            async with S3Store(BUCKET, endpoint=self._endpoint) as store:
                return await use(store)

        return asyncio.run(run())

    def keys(self, prefix):
        return self._with_store(lambda store: store.list(prefix))

    def value(self, key):
        return unpack(self._with_store(lambda store: store.get(key)))

    def text(self, key):
        return self._with_store(lambda store: store.get(key)).decode()

    def put(self, key, data):
        self._with_store(lambda store: store.put(key, data))


@pytest.fixture
def bucket(aws, monkeypatch):
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    client = boto3.client("s3", endpoint_url=aws)
    client.create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"}
    )
    CALLS.clear()
    yield Gateway(aws)
    listed = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    for each in listed:
        client.delete_object(Bucket=BUCKET, Key=each["Key"])
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def handler(bucket, monkeypatch):
    made = []

    def make(step_name, of=handled, built=None, milliseconds=(60_000,)):
        monkeypatch.setenv("LOKKI_STEP_NAME", step_name)
        monkeypatch.setenv("LOKKI_MODULE_NAME", __name__)
        monkeypatch.setenv("LOKKI_ARTIFACT_BUCKET", BUCKET)
        made.append(Handler(of.name, dumped(built or of().structure)))
        times = itertools.chain(milliseconds, itertools.repeat(milliseconds[-1]))
        left = {"get_remaining_time_in_millis": times.__next__}
        return lambda event: made[-1](event, SimpleNamespace(aws_request_id="request-1", **left))

    yield make
    for each in made:
        each.invocation.close()


def event(value, index=None, attempt=0, **params):
    at = {} if index is None else {"index": index}
    return {"flow": {"run_id": "r1", "params": params}, **at, "input": value, "attempt": attempt}


def test_a_source_stores_its_result_and_lists_its_items(handler, bucket):
    answer = handler("get_items")(event({}, limit=3))
    manifest = "handled/runs/r1/get_items/map_manifest.json"
    assert answer == {
        "flow": {"run_id": "r1", "params": {"limit": 3}},
        "input": {"manifest": manifest, "count": 3},
    }
    assert bucket.value("handled/runs/r1/get_items/output.pkl.gz") == [0, 1, 2]
    assert json.loads(bucket.text(manifest)) == [{"input": 0}, {"input": 1}, {"input": 2}]


def test_an_item_gets_the_flows_parameters_and_answers_what_is_small(handler, bucket):
    answer = handler("work")(event(4, index=7, factor=10))
    assert (answer["index"], answer["input"]) == (7, 40)
    assert bucket.value("handled/runs/r1/work/7/output.pkl.gz") == 40


def test_what_a_step_shows_is_stored_before_it_ends_and_its_result_has_a_preview(handler, bucket):
    CALLS.append(bucket)
    handler("shows", of=showing)(event(7, index=2))
    folder = "showing/runs/r1/shown.d/shows/2/1.0"
    assert json.loads(bucket.text(f"{folder}/about.json"))["title"] == "Progress"
    assert bucket.keys(folder) == [f"{folder}/about.json", f"{folder}/content.zlib"]
    preview = json.loads(bucket.text("showing/runs/r1/previews.d/shows/2.json"))
    assert (preview["columns"], preview["rows"]) == (["a"], [[7]])


def test_previews_are_not_made_where_they_are_switched_off(handler, bucket, monkeypatch):
    monkeypatch.setenv("LOKKI_LOCAL_PREVIEWS", "false")
    CALLS.append(bucket)
    handler("shows", of=showing)(event(7, index=2))
    assert bucket.keys("showing/runs/r1/previews.d") == []


@pytest.mark.parametrize(
    ("milliseconds", "done"), [((60_000,), 3), ((60_000, 2_000), 1), ((2_000,), 3)]
)
def test_a_slice_ends_before_the_time_of_its_process_does(handler, milliseconds, done):
    listed = handler("get_items")({**event({}, limit=3), "cut": 3})["input"]
    (first, start, end) = listed["cuts"][0]
    asked = {"first": first, "count": 3, "manifest": listed["manifest"], "start": start, "end": end}
    given = {"flow": {"run_id": "r1", "params": {"limit": 3}}, "slice": asked, "attempt": 0}
    answer = handler("work", milliseconds=milliseconds)(given)
    assert answer == {"failed": [], "left": 3 - done}
    assert [item for item, _ in CALLS] == list(range(done))


def test_what_json_does_not_give_back_is_reported_by_where_it_is(handler, bucket):
    answer = handler("work")(event("x", index=0))
    key = "handled/runs/r1/work/0/output.pkl.gz"
    assert answer["input"] == f"s3://{BUCKET}/{key}"
    assert bucket.value(key) == ("x",)
    assert handler("work")(event(answer["input"], index=1))["input"].endswith("/1/output.pkl.gz")
    assert CALLS[-1][0] == ("x",)


@pytest.mark.parametrize(
    "url",
    [
        "s3://other/handled/runs/r1/work/0/output.pkl.gz",
        f"s3://{BUCKET}/another/runs/r1/work/0/output.pkl.gz",
        f"s3://{BUCKET}/handled/runs/../../x/output.pkl.gz",
        f"s3://{BUCKET}/handled/artifacts/output.pkl.gz",
        f"s3://{BUCKET}/handled/runs/r1/work/0/failure.json",
    ],
)
def test_a_text_that_is_no_result_of_the_flow_is_a_text(handler, url):
    handler("work")(event(url, index=0))
    assert [(url, 1)] == CALLS


SEGMENT = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled"
IN_SEGMENT = "5759e988bd862e3fe1be46a994272793 53995c3f42cd8ad8"
OWN = trace.SpanContext(7, 9, is_remote=False)


ABOVE = f"00-{3:032x}-{5:016x}-01"


@pytest.mark.parametrize(
    ("header", "own", "above", "seen"),
    [
        (f"{SEGMENT}=1;Lineage=1:a87bd80c:0", None, None, IN_SEGMENT),
        (f"{SEGMENT}=0;Lineage=1:a87bd80c:0", None, None, f"{0:032x} {0:016x}"),
        (f"{SEGMENT}=1", OWN, None, f"{7:032x} {9:016x}"),
        ("", None, None, f"{0:032x} {0:016x}"),
        ("", None, ABOVE, f"{3:032x} {5:016x}"),
        (f"{SEGMENT}=1", None, ABOVE, IN_SEGMENT),
        ("", OWN, ABOVE, f"{7:032x} {9:016x}"),
    ],
)
def test_a_step_is_in_the_segment_of_its_function_or_below_the_span_of_its_run(
    handler, monkeypatch, header, own, above, seen
):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", ModuleType("opentelemetry.sdk"))
    monkeypatch.setenv("_X_AMZN_TRACE_ID", header)
    span = trace.NonRecordingSpan(own or trace.INVALID_SPAN_CONTEXT)
    with trace.use_span(span):
        given = event(1, index=0)
        given["flow"]["params"]["lokki:traceparent"] = above
        assert handler("trace_of", traced)(given)["input"] == seen


def test_another_attempt_finds_what_the_first_has_stored(handler):
    work_on = handler("work")
    assert work_on(event(5, index=0))["input"] == 5
    assert work_on(event(5, index=0, attempt=1))["input"] == 5
    assert CALLS == [(5, 1)]
    work_on(event(6, index=1, attempt=1))
    assert CALLS == [(5, 1), (6, 1)]


def test_calls_that_lambda_refused_use_up_no_attempt(handler, bucket):
    work_on = handler("work")
    with pytest.raises(Exception, match="no such item"):
        work_on(event("bad", index=0, attempt=6))
    assert not [key for key in bucket.keys("handled/runs/r1/work") if "failure" in key]
    with pytest.raises(Exception, match="no such item"):
        work_on(event("bad", index=0, attempt=9))
    assert CALLS == [("bad", 1), ("bad", 2)]
    told = json.loads(bucket.text("handled/runs/r1/work/0/failure.json"))
    assert told["attempt"] == 2


def test_a_call_that_asks_for_a_later_try_uses_up_no_attempt(handler, bucket):
    work_on = handler("work")
    for retried in range(2):
        with pytest.raises(Exception, match="the service is busy") as asked:
            work_on(event("busy", index=0, attempt=retried))
        assert type(asked.value).__name__ == "RetryLater"
    assert not [key for key in bucket.keys("handled/runs/r1/work") if "failure" in key]
    with pytest.raises(Exception, match="the service is busy"):
        work_on(event("busy", index=0, attempt=MOST_LATER))
    told = json.loads(bucket.text("handled/runs/r1/work/0/failure.json"))
    assert (told["type"], told["attempt"]) == ("RetryLater", 1)
    assert CALLS == [("busy", 1)] * 3


def slice_event(bucket, inputs, attempt, first=0, **about):
    """The event of a slice of these inputs, from index ``first`` on."""
    key = "handled/runs/r1/get_items/map_manifest.json"
    bucket.put(key, manifest := json.dumps([{"input": each} for each in inputs]).encode())
    part = {"first": first, "count": len(inputs) - first, "manifest": key}
    part |= {"base": 0, "start": 1, "end": len(manifest) - 1, **about}
    return {"flow": {"run_id": "r1", "params": {}}, "slice": part, "attempt": attempt}


def test_an_item_of_a_slice_fails_alone_once_it_was_put_off_too_often(handler, bucket):
    work_on, inputs = handler("work"), [0, "busy", 2]
    for put_off in (0, MOST_LATER - 1):  # other reasons to call a slice again do not count
        with pytest.raises(Exception, match="the service is busy") as asked:
            work_on(slice_event(bucket, inputs, MOST_LATER + put_off, put_off=put_off))
        assert type(asked.value).__name__ == "RetryLater"
    last = slice_event(bucket, inputs, 2 * MOST_LATER, put_off=MOST_LATER)
    assert work_on(last) == {"failed": [1], "left": 0}
    told = json.loads(bucket.text("handled/runs/r1/work/1/failure.json"))
    assert (told["type"], told["attempt"]) == ("RetryLater", 1)
    assert CALLS == [(0, 1), ("busy", 1), (2, 1), ("busy", 1), ("busy", 1)]


def test_an_item_has_the_whole_time_of_a_process_before_it_is_too_slow(handler, bucket):
    work_on, inputs = handler("work"), [0, 1, 2]
    work_on(slice_event(bucket, inputs[:1], 0))
    late = ["Sandbox.Timedout", "Task timed out after 3.00 seconds"]
    again = work_on(slice_event(bucket, inputs, 1, died=[*late, 0]))
    assert (again, CALLS) == ({"failed": [], "left": 2}, [(0, 1)])
    rest = work_on(slice_event(bucket, inputs, 2, first=1, died=[*late, 1]))
    assert (rest, CALLS[1:]) == ({"failed": [], "left": 0}, [(1, 2), (2, 1)])


def test_a_slice_without_time_for_its_rest_does_not_forget_what_was_put_off(handler, bucket):
    work_on = handler("work", milliseconds=(0,))
    with pytest.raises(Exception, match="the service is busy"):
        work_on(slice_event(bucket, ["busy", 1, 2], 0))
    assert CALLS == [("busy", 1)]


def test_a_process_that_ends_after_an_item_was_put_off_is_not_that_items_fault(handler, bucket):
    work_on, inputs = handler("work"), ["busy", 1, 2]
    with pytest.raises(Exception, match="the service is busy"):
        work_on(slice_event(bucket, inputs[:1], 0))  # and then it ends, in the next item
    with pytest.raises(Exception, match="the service is busy"):
        work_on(slice_event(bucket, inputs, 1, died=["Runtime.ExitError", "exit status 1", 0]))
    assert CALLS == [("busy", 1), ("busy", 1), (1, 2), (2, 1)]


def test_the_other_items_of_an_invocation_do_not_wait_for_one_that_asks_for_a_later_try(handler):
    given = {"flow": {"run_id": "r1", "params": {}}, "attempt": 0}
    items = [{"index": 0, "input": "busy"}, {"index": 1, "input": 1}]
    with pytest.raises(Exception, match="the service is busy") as asked:
        handler("work", of=in_twos)({**given, "items": items})
    assert type(asked.value).__name__ == "RetryLater"
    assert CALLS == [("busy", 1), (1, 1)]


def test_a_job_waits_itself_for_a_later_try(handler):
    handler("busy_once", of=waits_itself)
    job = loaded(waits_itself.name, dumped(waits_itself().structure))
    try:
        assert job.run(parse(event(5, index=0)), holds=True)["input"] == 5
    finally:
        job.loop.run(job.payloads.store.close())
        job.loop.close()
    assert CALLS == [(5, 1), (5, 1)]


def test_an_invocation_whose_process_died_is_an_attempt(handler, bucket):
    bucket.put("handled/runs/r1/attempts.d/work/4", b"1")
    handler("work")(event(5, index=4, attempt=3))
    assert CALLS == [(5, 2)]


def test_items_of_an_invocation_have_all_their_attempts_however_often_it_was_refused(handler):
    work_on = handler("work", of=in_twos)
    given = {"flow": {"run_id": "r1", "params": {}}, "attempt": 7}
    with pytest.raises(Exception, match="no such item"):
        work_on({**given, "items": [{"index": 0, "input": 1}, {"index": 1, "input": "bad"}]})
    assert CALLS == [(1, 1), ("bad", 1), ("bad", 2)]


def test_a_redriven_or_resumed_execution_finds_what_is_stored(handler, bucket):
    bucket.put("handled/runs/r1/work/0/output.pkl.gz", pack("repaired"))
    work_on = handler("work")
    assert work_on({**event("bad", index=0), "redriven": 1})["input"] == "repaired"
    resumed = event("bad", index=0)
    resumed["flow"]["params"]["lokki:resumed"] = True
    answer = work_on(resumed)
    assert (answer["input"], answer["flow"]) == ("repaired", resumed["flow"])
    assert CALLS == []


def of_run(run_id, given):
    return {**given, "flow": {**given["flow"], "run_id": run_id}}


def test_runs_reuse_results_while_they_are_young_enough(handler, bucket, capsys):
    work_on = handler("reusable", of=reusing)
    first = work_on(event(4, index=7, factor=10))
    again = work_on(of_run("r2", event(4, index=0, factor=10)))
    assert CALLS == [(4, 1)]
    lines = [found for found in map(said, capsys.readouterr().out.splitlines()) if found]
    assert [(run, line[1:3], line[-1]) for run, line in lines if line[5] == "lokki"] == [
        ("r2", ("reusable", 0), "the result of an earlier call was reused")
    ]
    assert first["input"].endswith("/r1/reusable/7/output.pkl.gz")
    assert again["input"].endswith("/r2/reusable/0/output.pkl.gz")
    assert bucket.value("reusing/runs/r2/reusable/0/output.pkl.gz") == (4, 10)
    work_on(of_run("r3", event(4, index=0, factor=11)))
    assert CALLS == [(4, 1)] * 2
    for each in s3_backends["123456789012"]["aws"].buckets[BUCKET].keys.values():
        each.last_modified -= timedelta(hours=2)
    work_on(of_run("r4", event(4, index=0, factor=10)))
    assert CALLS == [(4, 1)] * 3


def test_a_run_without_a_cache_makes_its_calls_and_replaces_results(handler, bucket):
    work_on = handler("reusable", of=reusing)
    work_on(event(4, index=0, factor=10))
    (kept,) = bucket.keys("reusing/runs/cache.d")
    bucket.put(kept, pack("an earlier result"))
    without = of_run("r2", event(4, index=0, factor=10))
    without["flow"]["params"]["lokki:no_cache"] = True
    work_on(without)
    assert CALLS == [(4, 1)] * 2
    assert bucket.value(kept) == (4, 10)


def test_a_failed_call_is_not_reused_and_neither_is_what_cannot_be_read(handler, bucket):
    work_on = handler("reusable", of=reusing)
    for run_id in ("r1", "r2"):
        with pytest.raises(Exception, match="no such item"):
            work_on(of_run(run_id, event("bad", index=0, attempt=1)))
    assert [call for call, _ in CALLS] == ["bad"] * len(CALLS)
    assert len(CALLS) >= 2
    assert not bucket.keys("reusing/runs/cache.d")
    CALLS.clear()
    work_on(event(5, index=1))
    (kept,) = bucket.keys("reusing/runs/cache.d")
    bucket.put(kept, b"damaged")
    work_on(of_run("r2", event(5, index=1)))
    assert len(CALLS) == 2
    work_on(of_run("r3", event(5, index=1)))
    assert len(CALLS) == 2


def batch(items, **more):
    return {"flow": {"run_id": "r1", "params": {}}, "items": items, "attempt": 0, **more}


def test_what_a_batch_sends_on_fits_whatever_its_sum_and_its_end_sends_nothing(handler, bucket):
    items = [{"index": index, "input": 3_900} for index in range(100)]
    answer = handler("sized", in_batches)(batch(items))
    assert answer["items"] == list(range(100))
    ended = handler("measured", in_batches)(batch(answer["items"]))
    assert ended["items"] == []
    assert [len(each) for each in CALLS] == [3_900] * 100
    assert bucket.value("in-batches/runs/r1/measured/99/output.pkl.gz") == 3_900


def test_in_a_batch_an_item_is_its_value_or_its_index(handler):
    answer = handler("sized", in_batches)(
        batch([{"index": 4, "input": 2}, {"index": 7, "input": "a"}])
    )
    assert answer["items"] == [{"index": 4, "input": "xx"}, 7]
    handler("measured", in_batches)(batch(answer["items"]))
    assert CALLS == ["xx", ("a",)]


def test_a_resumed_batch_needs_no_input_of_an_item_that_is_done(handler, bucket):
    bucket.put("in-batches/runs/r1/measured/7/output.pkl.gz", pack(1))
    bucket.put("in-batches/runs/r1/sized/8/output.pkl.gz", pack(("b",)))
    assert handler("measured", in_batches)(batch([7, 8], redriven=1))["items"] == []
    assert CALLS == [("b",)]


def test_what_a_step_prints_and_logs_is_reported_in_lines_of_its_run_and_item(handler, capsys):
    handler("speak", of=spoken)(event(5, index=3))
    texts = capsys.readouterr().out.splitlines()
    lines = [line for line in map(said, texts) if line is not None]
    assert [(run, *line[1:]) for run, line in lines] == [
        ("r1", "speak", 3, 1, "INFO", "stdout", "got 5"),
        ("r1", "speak", 3, 1, "INFO", "spoken", "by the way"),
        ("r1", "speak", 3, 1, "WARNING", "spoken", "hm\nhm"),
        ("r1", "speak", 3, 1, "WARNING", "stderr", "the end"),
    ]
    assert len(texts) == len(lines) + 2
    assert {json.loads(text)["run"] for text in texts} == {"r1"}


def test_a_result_that_is_there_is_not_replaced(handler, bucket):
    bucket.put("handled/runs/r1/work/0/output.pkl.gz", pack("first"))
    assert handler("work")(event(5, index=0))["input"] == "first"


def test_an_aggregation_gets_the_results_in_order_and_the_tolerated_failures(handler, bucket):
    handler("get_items")(event({}, limit=12))
    work_on = handler("work")
    for index in reversed(range(12)):
        if index != 3:
            work_on(event(index, index=index))
    for retried in range(2):
        with pytest.raises(Exception, match="no such item"):
            work_on(event("bad", index=3, attempt=retried))
    answer = handler("collect")(event({"map": "work"}, limit=12))
    assert answer["input"] == [[0, 1, 2, *range(4, 12)], [3]]
    told = json.loads(bucket.text("handled/runs/r1/work/3/failure.json"))
    assert (told["type"], told["attempt"], told["index"]) == ("LookupError", 2, 3)


def test_results_that_are_missing_without_a_failure_are_failures_of_lost_processes(handler):
    handler("get_items")(event({}, limit=2))
    handler("work")(event(1, index=1))
    assert handler("collect")(event({"map": "work"}, limit=2))["input"] == [[1], [0]]


def test_more_failures_than_tolerated_fail_the_aggregation(handler):
    handler("get_items")(event({}, limit=3))
    handler("work")(event(1, index=1))
    with pytest.raises(Exception, match="its process ended before it reported why") as caught:
        handler("collect")(event({"map": "work"}, limit=3))
    assert type(caught.value).__name__ == "WorkerDied"


def test_an_error_is_the_users_by_name_text_and_frames(handler, capsys):
    with pytest.raises(Exception, match=r"^no such item: bad$") as caught:
        handler("work")(event("bad", index=0, attempt=0))
    assert type(caught.value).__name__ == "LookupError"
    assert caught.value.__cause__ is caught.value.__context__ is None
    frames = caught.traceback
    assert frames[-1].name == "work"
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["event"], line["item"], line["attempt"]) for line in lines] == [
        ("step_start", 0, 1),
        ("step_failed", 0, 1),
    ]
    assert lines[1]["level"] == "WARNING"  # there is an attempt to come


@pytest.mark.parametrize(
    ("item", "told", "frames"),
    [("text", "no such file: caf\\udcff", 1), ("frames", "in a file", 0)],
)
def test_an_error_of_which_utf8_cannot_encode_a_part_keeps_its_name_and_text(
    handler, bucket, capsys, item, told, frames
):
    with pytest.raises(Exception, match="file") as caught:
        handler("odd", odd_names)(event(item, index=0))
    assert (type(caught.value).__name__, str(caught.value)) == ("LookupError", told)
    told_frames = "".join(traceback.format_tb(caught.value.__traceback__))
    assert told_frames.encode()
    assert ("in odd\n" in told_frames) is bool(frames)
    assert all(json.loads(line) for line in capsys.readouterr().out.encode().splitlines())
    failure = bucket.text("odd-names/runs/r1/odd/0/failure.json")
    assert json.loads(failure)["type"] == "LookupError"


def test_an_answer_and_lines_are_utf8_whatever_a_step_returns_and_prints(handler, bucket, capsys):
    answer = handler("odd", odd_names)(event("result", index=0, name=ODD))
    assert json.dumps(answer, ensure_ascii=False).encode()
    assert bucket.value("odd-names/runs/r1/odd/0/output.pkl.gz") == ODD
    assert (
        json.loads(capsys.readouterr().out.encode().splitlines()[1])["message"] == f"reading {ODD}"
    )


def test_the_name_of_an_error_says_whether_step_functions_retries_it(handler):
    def told(item, attempt=0):
        with pytest.raises(Exception, match=r"gone|no line") as caught:
            handler("disconnect", disconnected)(event(item, index=0, attempt=attempt))
        return type(caught.value).__name__, str(caught.value)

    assert told("reset") == ("OSError", "ConnectionResetError: gone")
    assert told("reset", attempt=1) == ("ConnectionResetError", "gone")
    assert told("csv") == ("_csv.Error", "no line")


def test_an_attempt_that_is_to_be_repeated_leaves_no_failure(handler, bucket):
    with pytest.raises(Exception, match="no such item"):
        handler("work")(event("bad", index=0, attempt=0))
    assert bucket.keys("handled/runs/r1/work") == []


@pytest.mark.parametrize(
    ("errors", "name"),
    [
        ([TimeoutError()], "ExceptionGroup"),
        ([BrokenPipeError(), TimeoutError()], "ExceptionGroup"),
        ([BrokenPipeError()], "ConnectionError"),
    ],
)
def test_a_group_has_the_name_of_an_error_that_is_retried_when_all_in_it_are(handler, errors, name):
    with pytest.raises(Exception, match="two at once") as caught:
        handler("gather", grouped)(event(errors))
    assert type(caught.value).__name__ == name


# ---- invoked by hand -----------------------------------------------------------------------------


def test_a_plain_event_is_what_a_step_is_given(handler):
    assert handler("work")(5)["input"] == 5
    assert handler("collect")([1, 2])["input"] == [[1, 2], []]


def typed(value, **more):
    return {"flow": {"run_id": "mine", "params": {}}, "input": value, **more}


def test_a_typed_event_calls_the_step_with_its_input_each_time(handler, bucket):
    work_on = handler("work")
    assert [work_on(typed(each, index=0))["input"] for each in (5, 6)] == [5, 6]
    key = "handled/runs/mine/work/0/output.pkl.gz"
    assert bucket.value(key) == 6
    assert handler("work")(typed(f"s3://{BUCKET}/{key}", index=1))["input"] == 6
    assert handler("collect")(typed([1, 2]))["input"] == [[1, 2], []]


def test_a_typed_event_may_name_a_map_that_has_run(handler):
    handler("get_items")(typed(None))
    for index in range(2):
        handler("work")(typed(index, index=index))
    assert handler("collect")(typed({"map": "work"}))["input"] == [[0, 1], []]


def test_a_plain_event_for_a_first_step_is_the_parameters(handler):
    answer = handler("get_items")({"limit": 4})
    assert answer["input"]["count"] == 4
    assert answer["flow"]["run_id"] == "direct-request-1"


# ---- other steps ---------------------------------------------------------------------------------


def test_an_async_step(handler):
    assert handler("wait_for", others)(event([1], attempt=0))["input"] == [1]


def test_an_async_step_that_takes_too_long(handler):
    with pytest.raises(Exception, match=r"^the call took longer than 0.05 s$") as caught:
        handler("wait_forever", others)(event([1]))
    assert type(caught.value).__name__ == "TimeoutError"


def test_a_step_cannot_end_its_process(handler):
    with pytest.raises(Exception, match="step 'leave' tried to end its process: 3") as caught:
        handler("leave", others)(event([1]))
    assert type(caught.value).__name__ == "SystemExit"


def test_a_result_cannot_end_its_process_either(handler):
    with pytest.raises(Exception, match="step 'stubborn' tried to end its process: 4"):
        handler("stubborn", of=stored)(event(1))


def test_a_result_that_cannot_be_read_back_fails_its_call(handler, bucket):
    probe_it = handler("probe", of=stored)
    with pytest.raises(
        Exception, match=r"of step 'probe' cannot be read back: .*'detail'$"
    ) as caught:
        probe_it(event("bad"))
    assert type(caught.value).__name__ == "PayloadError"
    assert bucket.keys("stored/runs/r1/probe") == []  # Step Functions is to call it again
    with pytest.raises(Exception, match="cannot be read back"):
        probe_it(event("bad", attempt=1))
    told = json.loads(bucket.text("stored/runs/r1/probe/failure.json"))
    assert (told["type"], told["attempt"], told["retryable"]) == ("PayloadError", 2, True)


def test_a_result_of_a_run_without_the_map_is_listed_or_refused(handler, bucket):
    key = "handled/runs/r1/get_items/output.pkl.gz"
    bucket.put(key, pack({5}))
    assert handler("get_items")(event({}, attempt=1))["input"]["count"] == 1
    assert json.loads(bucket.text("handled/runs/r1/get_items/map_manifest.json")) == [{"input": 5}]
    bucket.put(key, pack("emu"))
    with pytest.raises(Exception, match=r"returned str, but \.map\(work\) needs a list") as caught:
        handler("get_items")(event({}, attempt=1))
    assert type(caught.value).__name__ == "TypeError"


def test_a_file_is_stored_as_one_and_an_async_steps_iterator_is_read(handler, bucket):
    handler("probe", of=stored)(event("good"))
    assert bucket.value("stored/runs/r1/probe/output.pkl.gz").getvalue() == b"PNG"
    assert handler("lines", of=stored)(event(1))["input"] == [["1"], ["2"]]


# ---- what is wrong -------------------------------------------------------------------------------


VARIABLES = ("LOKKI_STEP_NAME", "LOKKI_MODULE_NAME", "LOKKI_ARTIFACT_BUCKET")


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_that_is_missing_is_named(monkeypatch, variable):
    for name in VARIABLES:
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv(variable)
    with pytest.raises(ConfigError, match=f"{variable} is not set"):
        loaded("handled", "[]")


def test_a_module_without_the_flow(monkeypatch):
    for name, value in (("STEP", "x"), ("MODULE", "json")):
        monkeypatch.setenv(f"LOKKI_{name}_NAME", value)
    monkeypatch.setenv("LOKKI_ARTIFACT_BUCKET", BUCKET)
    with pytest.raises(ConfigError, match=r"module 'json' .* has no flow 'handled'"):
        loaded("handled", "[]")


def test_another_structure_than_the_built_one_names_both(handler):
    with pytest.raises(FingerprintError) as caught:
        handler("work", built=of_text("other → shape"))(event(1, index=0))
    assert handled().shape in str(caught.value)
    assert "other → shape" in str(caught.value)


def test_wrong_parameters_are_refused(handler):
    with pytest.raises(ParameterError, match="limit"):
        handler("work")(event(1, index=0, limit="many"))


def test_a_result_that_is_gone_is_reported_by_its_place(handler):
    key = f"s3://{BUCKET}/handled/runs/r1/get_items/output.pkl.gz"
    with pytest.raises(LokkiError, match=f"no payload is stored under {key}"):
        handler("work")(event(key, index=0))


def test_what_is_no_pickle_of_ours_is_not_read(handler, bucket):
    key = "handled/runs/r1/get_items/output.pkl.gz"
    bucket.put(key, b"not a pickle" + pickle.dumps(5))
    with pytest.raises(Exception, match="stored data is not a payload") as caught:
        handler("work")(event(f"s3://{BUCKET}/{key}", index=0))
    assert type(caught.value).__name__ == "PayloadError"


# ---- an S3 that is busy, and large results -------------------------------------------------------


@pytest.fixture
def busy(bucket, monkeypatch):
    """The same S3 where two of five requests are told to slow down; counts those."""
    refused = []
    numbers = itertools.count()

    def app(environ, start_response):
        if next(numbers) % 5 in (1, 2):
            refused.append(environ["REQUEST_METHOD"])
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>slowly</Message></Error>"]
        return inner(environ, start_response)

    inner = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    yield refused
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_s3_that_is_busy_is_asked_again(handler, busy):
    handler("get_items")(event({}, limit=5))
    work_on = handler("work")
    for index in range(5):
        work_on(event(index, index=index))
    assert handler("collect")(event({"map": "work"}, limit=5))["input"] == [[0, 1, 2, 3, 4], []]
    assert {"GET", "PUT"} <= set(busy)


def noise(megabytes: int):
    """Bytes that do not compress."""
    generator = random.Random(1)
    return b"".join(generator.randbytes(1_000_000) for _ in range(megabytes))


@step
def very_much(megabytes: int = 300):
    return noise(megabytes)


@step
def digest(data):
    return len(data), sha256(data).hexdigest()


@flow
def heavy():
    return very_much().next(digest)


@pytest.mark.timeout(180)
def test_a_result_of_300_mb_goes_from_step_to_step(handler, bucket):
    answer = handler("very_much", heavy)(event({}))
    assert answer["input"] == f"s3://{BUCKET}/heavy/runs/r1/very_much/output.pkl.gz"
    told = handler("digest", heavy)(event(answer["input"]))["input"]
    assert bucket.value(told.removeprefix(f"s3://{BUCKET}/")) == (
        300_000_000,
        sha256(noise(300)).hexdigest(),
    )
