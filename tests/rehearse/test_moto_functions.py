"""What a function finds in the AWS of a rehearsal, as it is on Lambda.

What LocalStack recorded there is cited by the name of its test, below tests/aws/services/lambda_.
"""

from __future__ import annotations

import os
import re
import sys

import pytest
from test_moto_patches import function, invoke, moto

from lokki.rehearse.moto_patches import sandbox
from lokki.rehearse.moto_patches.server import PLATFORM

__all__ = ["function", "moto"]
pytestmark = pytest.mark.timeout(120)
confined = pytest.mark.skipif(
    not sandbox.is_permitted(), reason="this machine permits no user namespaces"
)


def asked(moto, function, body, event=None, **more):
    """What a function returns that has this body; it must not fail."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    name, _ = function(f"import os, sys\ndef handler(event, context):\n{lines}\n", **more)
    error, told = invoke(moto, name, event)
    assert error is None, told
    return told


def test_a_function_has_the_variables_of_lambda_and_no_home(moto, function):
    """test_lambda_common::test_introspection_invoke[python3.11], 2026-01-12."""
    body = "return {**os.environ, 'context': [context.log_group_name, context.log_stream_name]}"
    name, group = function(f"import os\ndef handler(event, context):\n    {body}\n")
    _, told = invoke(moto, name, None)
    assert set(told) - {"context"} == {
        "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "LANG",
        "LD_LIBRARY_PATH", "PATH", "PWD", "PYTHONPATH", "SHLVL", "TZ", "_AWS_XRAY_DAEMON_ADDRESS",
        "_AWS_XRAY_DAEMON_PORT", "_HANDLER", "_X_AMZN_TRACE_ID",
        "AWS_ENDPOINT_URL", "STEP",
    }  # fmt: skip
    assert told["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.11"
    python, _, others = told["PATH"].partition(":")
    assert (python, others) == (
        os.path.dirname(PLATFORM.python), "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
    )  # fmt: skip
    assert told["context"] == [group, told["AWS_LAMBDA_LOG_STREAM_NAME"]]
    streams = moto.logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert [each["logStreamName"] for each in streams] == [told["AWS_LAMBDA_LOG_STREAM_NAME"]]


WRITES = """
from pathlib import Path
def tried(path):
    try:
        Path(path).write_text("text")
    except OSError as error:
        return error.strerror
    return "written"
return [tried(each) for each in event]
"""


@confined
def test_a_function_writes_to_its_own_tmp_alone(moto, function, tmp_path, tmp_path_factory):
    """https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html"""
    elsewhere = tmp_path_factory.getbasetemp().parent / "elsewhere"
    places = ["beside-the-code", "/etc/x", "/dev/shm/x", str(elsewhere), "/tmp/x", f"{tmp_path}/x"]
    told = asked(moto, function, WRITES, places)
    refused = "Read-only file system"
    assert told[:3] == [refused, refused, refused]
    assert told[4:] == ["written", "written"]
    assert (tmp_path / "x").read_text() == "text", "what a rehearsal in a test shares with it"
    assert not elsewhere.exists()
    found = "return os.path.exists('/tmp/x')"
    assert asked(moto, function, found) is False, "in the /tmp of another"


@confined
def test_the_tmp_of_a_function_has_the_size_that_it_is_given(moto, function):
    body = """
with open("/tmp/large", "wb") as file:
    os.posix_fallocate(file.fileno(), 0, 1024 * 1024)
    try:
        os.posix_fallocate(file.fileno(), 0, 512 * 1024 * 1024 + 1)
    except OSError as error:
        return error.strerror
"""
    assert asked(moto, function, body) == "No space left on device"


@confined
def test_a_function_is_not_root_and_has_no_home_to_write_to(moto, function):
    """test_lambda::test_runtime_introspection_x86, 2025-11-24."""
    body = """
import getpass, pathlib, pwd
home = pathlib.Path.home()
user = pwd.getpwuid(os.getuid()).pw_name
return [os.getuid() > 0, getpass.getuser(), user, str(home), home.exists()]
"""
    user = "sbx_user1051"
    assert asked(moto, function, body) == [True, user, user, f"/home/{user}", False]


@pytest.fixture
def unconfined():
    before, PLATFORM.confined = PLATFORM.confined, False
    yield
    PLATFORM.confined = before


def test_where_it_cannot_be_confined_the_folder_of_its_code_takes_no_files(
    moto, function, unconfined
):
    told = asked(moto, function, "return [oct(os.stat(os.getcwd()).st_mode)[-3:], os.getuid()]")
    assert told == ["555", os.getuid()]


def test_a_function_has_no_semaphores_for_pools_of_processes(moto, function):
    """https://aws.amazon.com/blogs/compute/parallel-processing-in-python-with-aws-lambda/"""
    body = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
def tried(make):
    try:
        make()
    except OSError as error:
        return error.strerror
pools = [multiprocessing.Pool, multiprocessing.Queue, lambda: ProcessPoolExecutor().submit(print)]
with ThreadPoolExecutor() as threads:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=theirs.send, args=["sent"])
    process.start()
    received = ours.recv()
    process.join()
    return [*map(tried, pools), threads.submit(lambda: "in a thread").result(), received]
"""
    missing = "Function not implemented"
    assert asked(moto, function, body) == [missing, missing, missing, "in a thread", "sent"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell it")
def test_a_function_that_needs_more_memory_than_it_has_is_killed(moto, function):
    source = "def handler(event, context):\n    return len(bytearray(event * 1024 * 1024))\n"
    name, group = function(source, memory=256)
    assert invoke(moto, name, 8) == (None, 8 * 1024 * 1024)
    error, told = invoke(moto, name, 400)
    assert (error, told["errorType"]) == ("Unhandled", "Runtime.OutOfMemory")
    assert told["errorMessage"].endswith(" Error: Runtime exited with error: signal: killed")
    events = moto.logs.filter_log_events(logGroupName=group)["events"]
    report = [each["message"] for each in events if each["message"].startswith("REPORT")]
    used = [int(re.search(r"Max Memory Used: (\d+) MB", each)[1]) for each in report]
    assert 20 < used[0] < 256 <= used[1]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sys.exit(0)", "Runtime exited without providing a reason"),
        ("os._exit(3)", "Runtime exited with error: exit status 3"),
        ("os.kill(os.getpid(), 11)", "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_how_a_function_exits_is_told_in_lambdas_words(moto, function, body, why):
    """test_lambda::test_lambda_handler_exit, 2025-11-24."""
    name, _ = function(f"import os, sys\ndef handler(event, context):\n    {body}\n")
    _, told = invoke(moto, name, None)
    assert told["errorType"] == "Runtime.ExitError"
    assert told["errorMessage"].endswith(f" Error: {why}")


@pytest.fixture
def short_init():
    PLATFORM.init_seconds = 0.5
    yield
    PLATFORM.init_seconds = 10.0


def test_an_initialization_that_takes_too_long_is_done_again_in_the_call(
    moto, function, short_init
):
    """https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html"""
    source = (
        "import time\n"
        "time.sleep(1)\n"
        "def handler(event, context): return context.get_remaining_time_in_millis()\n"
    )
    error, left = invoke(moto, function(source, timeout=30)[0], None)
    assert error is None
    assert 0 < left < 29_100, "what is left after the initialization"
    _, told = invoke(moto, function(source, timeout=1)[0], None)
    assert told["errorType"] == "Sandbox.Timedout"
    assert told["errorMessage"].endswith("Task timed out after 1.00 seconds")
