"""Makes ResultWriter write the results of a map's children, not only its manifest.

https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lokki.rehearse.moto_patches.modules import asl

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.maps import Child
    from lokki.rehearse.moto_patches.platform import Platform

_WRITER = "component.state.exec.state_map.result_writer."


def change(platform: Platform) -> None:
    writer = asl(f"{_WRITER}resource_eval.resource_eval_s3").ResourceEvalS3

    def write(env: Any, resource: Any, credentials: Any) -> None:
        parameters = env.stack.pop()
        env.stack.pop()
        client = writer._get_s3_client(
            resource_runtime_part=resource, state_credentials=credentials
        )
        record = env.map_run_record_pool_manager.get_all()[-1]
        env.stack.append(_written(client, record, parameters["Bucket"], parameters["Prefix"]))

    writer._handle_put_object = staticmethod(write)


def _written(client: Any, record: Any, bucket: str, prefix: str) -> dict[str, Any]:
    folder = f"{prefix.rstrip('/')}/{record.map_run_arn.rpartition(':')[2]}"
    files: dict[str, list[Any]] = {"FAILED": [], "PENDING": [], "SUCCEEDED": []}
    for status, found in {"FAILED": ("FAILED", "TIMED_OUT"), "SUCCEEDED": ("SUCCEEDED",)}.items():
        described = [_described(each) for each in record.run.children if each.status in found]
        if described:
            body = json.dumps(described).encode()
            key = f"{folder}/{status}_0.json"
            client.put_object(Bucket=bucket, Key=key, Body=body)
            files[status].append({"Key": key, "Size": len(body)})
    manifest = {
        "DestinationBucket": bucket,
        "MapRunArn": record.map_run_arn,
        "ResultFiles": files,
    }
    key = f"{folder}/manifest.json"
    client.put_object(Bucket=bucket, Key=key, Body=json.dumps(manifest).encode())
    details = {"Bucket": bucket, "Key": key}
    return {"MapRunArn": record.map_run_arn, "ResultWriterDetails": details}


def _described(child: Child) -> dict[str, Any]:
    described = {
        "ExecutionArn": child.arn,
        "Input": json.dumps(child.input),
        "InputDetails": {"Included": True},
        "Name": child.name,
        "StartDate": _time(child.started),
        "StateMachineArn": child.machine_arn,
        "Status": child.status,
        "StopDate": _time(child.stopped or child.started),
    }
    if child.status == "SUCCEEDED":
        return described | {"Output": json.dumps(child.output), "OutputDetails": {"Included": True}}
    return described | {"Error": child.error, "Cause": child.cause}


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
