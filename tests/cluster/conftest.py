"""One cluster for all tests of a module; those that kill have workers of their own in it.

Not for more: while it has nothing to do, it takes 8 % of a processor.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clusters import Cluster

CREDENTIALS = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing")
CREDENTIALS["AWS_DEFAULT_REGION"] = "eu-north-1"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), **CREDENTIALS) as started:
        for name in ("first", "second"):
            started.start_worker(name)
        for name in ("first", "second"):
            started.until_worker(name)
        yield started
