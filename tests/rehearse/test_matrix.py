"""Flows of every kind give on AWS what they give here: from an image's command, and from a ZIP."""

from __future__ import annotations

import os
from datetime import date

import anyio
import pytest
import rehearsed_flows as flows

from lokki.rehearse.comparison import local_result, same

QUEUE = {"batch.job_queue": "the-queue"}
pytestmark = pytest.mark.timeout(300)

SAME = {
    "linear": flows.linear(),
    "map": flows.mapped(),
    "map of nothing": flows.mapped(count=0),
    "map of one": flows.mapped(count=1),
    "three inner steps": flows.three_inner(),
    "two maps": flows.two_maps(),
    "map at the end": flows.ends_with_map(),
    "map of nothing at the end": flows.ends_with_map(count=0),
    "steps used twice": flows.twice(),
    "types": flows.typed(first=date(2026, 2, 27)),
    "retries": flows.retried(),
    "tolerated failures": flows.tolerant(),
    "a tolerated share": flows.tolerant_share(),
    "direct pass": flows.direct(),
    "batches": flows.in_batches(),
    "batches over 256 KiB": flows.large_batches(),
    "batches over 256 KiB at the end": flows.large_batches_at_the_end(),
    "batches of large items": flows.batches_of_large_items(),
    "tolerant batches": flows.tolerant_batches(),
    "Batch in a chain": flows.batch_chain(),
    "Batch in a map": flows.batch_in_map(),
    "texts like URLs": flows.urls(),
    "large items": flows.large(),
    "async and generators": flows.async_and_generator(),
    "a process that dies": flows.dying(),
    "schedule": flows.scheduled(),
    "three pages of items": flows.three_pages(),
}


@pytest.mark.parametrize("graph", SAME.values(), ids=SAME)
def test_the_result_is_the_same_as_here(rehearsal, graph, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "100")
    done = rehearsal.run(graph, QUEUE)
    assert (done.status, done.error, done.cause) == ("SUCCEEDED", None, None)
    here = anyio.run(local_result, graph)
    assert same(done.result, here), (done.result, here)


@pytest.mark.parametrize("name", ["types", "direct pass", "Batch in a map"])
def test_from_a_zip_it_is_the_same_too(rehearsal, name):
    done = rehearsal.run(SAME[name], {**QUEUE, "lambda.package_type": "zip"})
    assert (done.status, done.error) == ("SUCCEEDED", None)
    assert same(done.result, anyio.run(local_result, SAME[name]))


def test_an_image_has_its_own_python_whatever_the_path_has(rehearsal, tmp_path, monkeypatch):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nexit 3\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    done = rehearsal.run(flows.batch_chain(), QUEUE)
    assert (done.error, done.cause) == (None, None)
    assert (done.status, done.result) == ("SUCCEEDED", (3, 2))


def test_a_queue_is_made_where_none_is_named(rehearsal):
    own = {"batch.subnets": "subnet-0a1b2c3d", "batch.security_groups": "sg-0a1b2c3d"}
    done = rehearsal.run(flows.batch_chain(), own)
    assert (done.status, done.result) == ("SUCCEEDED", (3, 2))
