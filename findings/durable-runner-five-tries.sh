#!/usr/bin/env bash
# aws-durable-execution-sdk-python-testing 1.4.0: an invocation of a durable function that fails is
# tried five times by its local runner, then the execution fails; the 5 s between tries are real ones
# with skip_time, too. AWS tries until the execution's timeout
# (https://docs.aws.amazon.com/lambda/latest/dg/durable-execution-sdk-retries.html). Exits with 1 when
# that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet boto3==1.43.117 aws-durable-execution-sdk-python==3.0.0 \
    aws-durable-execution-sdk-python-testing==1.4.0
cat >look.py <<'PYTHON'
import json
import logging
import os
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}

import boto3
from aws_durable_execution_sdk_python_testing.runner import WebRunner, WebRunnerConfig
from aws_durable_execution_sdk_python_testing.web.server import WebServiceConfig

logging.disable()
calls = []


class Function(BaseHTTPRequestHandler):
    """A durable function whose process always ends."""

    def log_message(self, *about):
        pass

    def do_POST(self):
        calls.append(time.monotonic())
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"errorType": "Runtime.ExitError", "errorMessage": "ended"}).encode()
        self.send_response(200)
        self.send_header("X-Amz-Function-Error", "Unhandled")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


function = ThreadingHTTPServer(("127.0.0.1", 0), Function)
threading.Thread(target=function.serve_forever, daemon=True).start()
runner = WebRunner(
    WebRunnerConfig(
        WebServiceConfig("127.0.0.1", 0, logging.CRITICAL),
        lambda_endpoint=f"http://127.0.0.1:{function.server_port}",
        skip_time=True,
    )
)
runner.start()
threading.Thread(target=runner.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{runner._server.server_port}"
started = {
    "AccountId": "123456789012", "FunctionName": "work", "FunctionQualifier": "1",
    "ExecutionName": "first", "ExecutionTimeoutSeconds": 3600, "ExecutionRetentionPeriodDays": 1,
    "InvocationId": "one", "Input": "{}",
}
request = urllib.request.Request(f"{url}/start-durable-execution", json.dumps(started).encode())
arn = json.load(urllib.request.urlopen(request))["ExecutionArn"]
client = boto3.client("lambda", "us-west-2", endpoint_url=url)
while (seen := client.get_durable_execution(DurableExecutionArn=arn))["Status"] == "RUNNING":
    time.sleep(0.2)
waits = {round(after - before) for before, after in zip(calls, calls[1:])}
print(f"{seen['Status']} after {len(calls)} tries, seconds between them: {sorted(waits)}")
os._exit(0)
PYTHON
venv/bin/python -u look.py | tee seen

diff - seen <<'SEEN'
FAILED after 5 tries, seconds between them: [5]
SEEN
