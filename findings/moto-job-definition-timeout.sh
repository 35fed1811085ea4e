#!/usr/bin/env bash
# moto 5.2.5: a Batch job definition that CloudFormation makes loses its Timeout, which one that is
# registered through the API keeps. Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet 'moto[batch,cloudformation]==5.2.5'
cat >look.py <<'PYTHON'
import json
import os

import boto3
from moto import mock_aws

os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
resources = [{"Type": "VCPU", "Value": "1"}, {"Type": "MEMORY", "Value": "64"}]
properties = {
    "Type": "container",
    "ContainerProperties": {"Image": "any", "ResourceRequirements": resources},
    "RetryStrategy": {"Attempts": 1},
    "Timeout": {"AttemptDurationSeconds": 90},
}
template = {"Resources": {"Job": {"Type": "AWS::Batch::JobDefinition", "Properties": properties}}}
with mock_aws():
    batch, stacks = (boto3.client(each, "us-east-1") for each in ("batch", "cloudformation"))
    stacks.create_stack(StackName="one", TemplateBody=json.dumps(template))
    batch.register_job_definition(
        jobDefinitionName="registered",
        type="container",
        containerProperties={
            "image": "any",
            "resourceRequirements": [
                {"type": each["Type"], "value": each["Value"]} for each in resources
            ],
        },
        retryStrategy={"attempts": 1},
        timeout={"attemptDurationSeconds": 90},
    )
    for each in batch.describe_job_definitions()["jobDefinitions"]:
        kind = "API" if each["jobDefinitionName"] == "registered" else "CloudFormation"
        print(f"{kind}: {each.get('timeout')}")
PYTHON
venv/bin/python look.py | sort | tee seen

diff - seen <<'SEEN'
API: {'attemptDurationSeconds': 90}
CloudFormation: None
SEEN
