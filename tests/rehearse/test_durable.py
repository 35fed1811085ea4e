"""Flows give as durable functions what they give here, on AWS's own local runner."""

from __future__ import annotations

import anyio
import pytest
from test_matrix import QUEUE, SAME

from lokki.rehearse.comparison import local_result, same

DURABLE = {"aws.target": "durable"}
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("name", SAME)
def test_the_result_is_the_same_as_here(rehearsal, name):
    done = rehearsal.run(SAME[name], {**QUEUE, **DURABLE})
    assert (done.status, done.error, done.cause) == ("SUCCEEDED", None, None)
    here = anyio.run(local_result, SAME[name])
    assert same(done.result, here), (done.result, here)
