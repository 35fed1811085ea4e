"""Flows that begin with what is in S3 give on AWS what they give here."""

from __future__ import annotations

import anyio
import boto3
import pytest
import rehearsed_flows as flows

from lokki.rehearse.comparison import local_result

pytestmark = pytest.mark.timeout(120)
STORED = {"birds/1": b"12345", "birds/2": b"123", "8.csv": b"says\nhonk\nquack"}


@pytest.mark.parametrize(
    ("graph", "result"),
    [(flows.objects_in_s3(), 8), (flows.rows_in_s3(), ["honk", "quack"])],
    ids=["objects", "rows"],
)
def test_the_result_is_the_same_as_here(rehearsal, monkeypatch, graph, result):
    client = boto3.client("s3", endpoint_url=rehearsal.endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="in-the-rehearsal")
    for key, body in STORED.items():
        client.put_object(Bucket="in-the-rehearsal", Key=key, Body=body)
    done = rehearsal.run(graph)
    assert (done.status, done.cause, done.result) == ("SUCCEEDED", None, result)
    monkeypatch.setenv("LOKKI_AWS_ENDPOINT", rehearsal.endpoint)
    assert anyio.run(local_result, graph) == result
