"""Any flow gives on AWS what it gives here: the interpreter beside the engine."""

from __future__ import annotations

import importlib
import os

import anyio
import generated
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lokki.rehearse.comparison import local_result, same

specs = st.builds(
    lambda links, end: "".join(links) + end,
    st.lists(st.sampled_from("nmcdb"), min_size=1, max_size=3),
    st.sampled_from(["", "e"]),
)


@pytest.mark.timeout(300)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specs, count=st.integers(0, 3))
def test_the_interpreter_gives_what_the_engine_gives(rehearsal, spec, count):
    os.environ["GENERATED_SPEC"] = spec
    try:
        flow = importlib.reload(generated).generated
        done = rehearsal.run(flow(count=count), {"lambda.env": {"GENERATED_SPEC": spec}})
        here = anyio.run(local_result, flow(count=count))
    finally:
        del os.environ["GENERATED_SPEC"]
    assert (done.status, done.error, done.cause) == ("SUCCEEDED", None, None)
    assert same(done.result, here), (done.result, here)
