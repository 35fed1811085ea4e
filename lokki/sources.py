"""Steps with which a flow begins: what is in S3 already.

On AWS they run in a function, like any step. Here and there, the configuration says where S3 is.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from io import StringIO
from typing import Any

from lokki.decorators import step
from lokki.errors import AwsError, DefinitionError
from lokki.s3_url import bucket_and_key


@step
async def s3_objects(url: str) -> list[dict[str, Any]]:
    """A step that lists objects in S3: ``s3_objects("s3://bucket/prefix").map(work)``.

    The items are the objects whose keys begin with the prefix, in the order of their keys:
    ``{"url": …, "key": …, "size": bytes, "etag": …, "modified": time in ISO 8601}``. Keys that end
    with "/", which stand for folders, are left out.

    Raises DefinitionError for another URL, and AwsError where S3 refuses.
    """
    bucket, prefix = bucket_and_key(url)
    found = []
    async with _client("list", url) as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        async for page in pages:
            found += [each for each in page.get("Contents", ()) if not each["Key"].endswith("/")]
    return [
        {
            "url": f"s3://{bucket}/{each['Key']}",
            "key": each["Key"],
            "size": each["Size"],
            "etag": each["ETag"].strip('"'),
            "modified": each["LastModified"].isoformat(),
        }
        for each in sorted(found, key=lambda each: each["Key"].encode())
    ]


@step
async def s3_rows(url: str) -> list[Any]:
    """A step that reads the rows of a file in S3: ``s3_rows("s3://bucket/birds.csv").map(work)``.

    The items are, by the end of the URL, the rows of a ``.csv`` as dicts of texts, whose names are
    in its first row, or the values of a ``.jsonl``, one a line; ``.gz`` after it is unpacked. The
    file is UTF-8, and read into memory.

    Raises DefinitionError for another URL, AwsError where S3 refuses, and ValueError for a line
    that is not JSON.
    """
    bucket, key = bucket_and_key(url)
    name, zipped = key.removesuffix(".gz"), key.endswith(".gz")
    read = next((each for end, each in _READERS.items() if name.endswith(end)), None)
    if read is None:
        raise DefinitionError(f"{url!r} names no file with rows: it must end with .csv or .jsonl")
    async with _client("read", url) as client:
        answer = await client.get_object(Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            data: bytes = await body.read()
    text = (gzip.decompress(data) if zipped else data).decode("utf-8-sig")
    return read(StringIO(text, newline=""))


def _csv(lines: Iterable[str]) -> list[Any]:
    return list(csv.DictReader(lines, strict=True))


def _jsonl(lines: Iterable[str]) -> list[Any]:
    return [json.loads(line) for line in lines if line.strip()]


_READERS: dict[str, Callable[[Iterable[str]], list[Any]]] = {".csv": _csv, ".jsonl": _jsonl}


@asynccontextmanager
async def _client(what: str, url: str) -> AsyncIterator[Any]:
    """A client of S3; what it refuses is an AwsError."""
    from lokki.config import load  # not earlier: the definition layer is loaded with few imports

    try:
        from lokki.store.s3 import REFUSALS, client_of
    except ImportError:
        raise AwsError(f"to {what} {url}: pip install 'lokki-engine[aws]'") from None
    aws = load().aws
    try:
        async with await client_of(aws.endpoint, aws.region) as client:
            yield client
    except REFUSALS as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
        raise AwsError(f"cannot {what} {url}: {error}", code) from error
