#!/usr/bin/env bash
# aws-durable-execution-sdk-python-testing 1.4.0: its local runner lists the executions of a function
# whatever `Statuses` of ListDurableExecutionsByFunction says, since it reads that filter under
# another name; by `DurableExecutionName` it filters. Exits with 1 when that changes.
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


class Function(BaseHTTPRequestHandler):
    """A durable function that succeeds at once."""

    def log_message(self, *about):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"Status": "SUCCEEDED", "Result": "1"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


function = ThreadingHTTPServer(("127.0.0.1", 0), Function)
threading.Thread(target=function.serve_forever, daemon=True).start()
runner = WebRunner(
    WebRunnerConfig(
        WebServiceConfig("127.0.0.1", 0, logging.CRITICAL),
        lambda_endpoint=f"http://127.0.0.1:{function.server_port}",
    )
)
runner.start()
threading.Thread(target=runner.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{runner._server.server_port}"
started = {
    "AccountId": "123456789012", "FunctionName": "work", "FunctionQualifier": "1",
    "ExecutionName": "first", "ExecutionTimeoutSeconds": 60, "ExecutionRetentionPeriodDays": 1,
    "InvocationId": "one", "Input": "{}",
}
request = urllib.request.Request(f"{url}/start-durable-execution", json.dumps(started).encode())
urllib.request.urlopen(request)
client = boto3.client("lambda", "us-west-2", endpoint_url=url)


def listed(**wanted):
    found = client.list_durable_executions_by_function(FunctionName="work", **wanted)
    return [each["Status"] for each in found["DurableExecutions"]]


while listed() != ["SUCCEEDED"]:
    time.sleep(0.1)
print("Statuses=['RUNNING']:", listed(Statuses=["RUNNING"]))
print("DurableExecutionName='other':", listed(DurableExecutionName="other"))
os._exit(0)
PYTHON
venv/bin/python -u look.py | tee seen

diff - seen <<'SEEN'
Statuses=['RUNNING']: ['SUCCEEDED']
DurableExecutionName='other': []
SEEN
