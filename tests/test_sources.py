"""Flows that begin with what is in S3."""

from __future__ import annotations

import gzip
import json
from uuid import uuid4

import boto3
import pytest

from lokki import RunFailed, flow, s3_objects, s3_rows, step


@step
def same(item):
    return item


@flow
def objects(url: str):
    return s3_objects().map(same)


@flow
def rows(url: str):
    return s3_rows().map(same)


@pytest.fixture
def bucket(aws, monkeypatch, tmp_path):
    """A bucket whose ``put`` stores an object."""
    monkeypatch.setenv("LOKKI_AWS_ENDPOINT", aws)
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", str(tmp_path / "lokki.db"))
    client = boto3.client("s3", endpoint_url=aws)
    name = f"bucket-{uuid4()}"
    client.create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"}
    )

    def put(key, body=b""):
        client.put_object(Bucket=name, Key=key, Body=body)
        return f"s3://{name}/{key}"

    put.url = f"s3://{name}"
    return put


def test_the_items_are_the_objects_below_a_prefix_in_the_order_of_their_keys(bucket, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    for key in ("birds/b", "birds/Ä", "birds/", "birds/a b", "birds/B", "other"):
        bucket(key, b"12345")
    found = objects.run_sync(f"{bucket.url}/birds/")
    assert [each["key"] for each in found] == ["birds/B", "birds/a b", "birds/b", "birds/Ä"]
    assert found[1]["url"] == f"{bucket.url}/birds/a b"
    assert (found[1]["size"], len(found[1]["etag"])) == (5, 32)
    assert found[1]["modified"].endswith("+00:00")
    assert len(objects.run_sync(bucket.url)) == 5


VALUES = [{"a": 1}, "a\u2028text", None, [1.5]]
LINES = "\n".join(json.dumps(each, ensure_ascii=False) for each in VALUES)
SAID = ["honk\nhonk", "quack, quack"]
CSV = 'name,says\r\ngoose,"honk\nhonk"\r\nduck,"quack, quack"\r\n'


@pytest.mark.parametrize(
    ("name", "body", "items"),
    [
        ("birds.csv", CSV.encode(), SAID),
        ("birds.csv.gz", gzip.compress(b"\xef\xbb\xbf" + CSV.encode(), mtime=0), SAID),
        ("empty.csv", b"", []),
        ("v.jsonl", LINES.encode(), VALUES),
        ("v.jsonl.gz", gzip.compress(b'1\n\n"two"\n', mtime=0), [1, "two"]),
    ],
)
def test_the_items_are_the_rows_of_a_file(bucket, name, body, items):
    found = rows.run_sync(bucket(name, body))
    assert ([each["says"] for each in found] if ".csv" in name else found) == items


@pytest.mark.parametrize(
    ("run", "url", "kind", "told"),
    [
        (objects, "birds/", "DefinitionError", "'birds/' is not a URL in S3: write it like 's3://"),
        (objects, "s3://no-such-bucket-anywhere/a", "AwsError", "cannot list s3://no-such-bucket"),
        (rows, "s3://some-bucket/a.parquet", "DefinitionError", "must end with .csv or .jsonl"),
    ],
)
def test_what_cannot_be_read_is_reported(bucket, run, url, kind, told):
    with pytest.raises(RunFailed) as failed:
        run.run_sync(url)
    assert failed.value.type.rpartition(".")[2] == kind
    assert told in str(failed.value)


def test_a_line_that_is_no_json_fails_the_run(bucket):
    with pytest.raises(RunFailed, match="JSONDecodeError"):
        rows.run_sync(bucket("v.jsonl", b"{"))
