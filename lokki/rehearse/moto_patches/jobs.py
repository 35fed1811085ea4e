"""Batch: runs a job's command as a process, as often as its retry strategy says."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, cast

from lokki.rehearse.moto_patches import sandbox
from lokki.rehearse.moto_patches.modules import moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_models = moto("batch.models")
_OUT_OF_TIME = "Job attempt duration exceeded timeout"
_ENDED = "Essential container in task exited"
_RECLAIMED = "Your Spot Task was interrupted."
"""https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html"""
_LEAST_GIB = 20
"""https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-storage.html"""


def change(platform: Platform) -> None:
    def run(self: Any) -> None:
        try:
            _run(self, platform)
        except Exception as error:
            self.job_stopped_reason = repr(error)
            self._mark_stopped(success=False)

    terminate = _models.Job.terminate

    def terminated(self: Any, reason: str) -> None:
        terminate(self, reason)
        if (process := vars(self).get("process")) is not None:
            process.kill()

    _models.Job.run, _models.Job.terminate = run, terminated
    _models.Job._container_details = _with_exit_code(_models.Job._container_details)
    made = _models.JobDefinition.create_from_cloudformation_json.__func__

    def create(
        cls: Any, resource_name: str, cloudformation_json: Any, *where: Any, **more: Any
    ) -> Any:
        definition = made(cls, resource_name, cloudformation_json, *where, **more)
        timeout = cloudformation_json["Properties"].get("Timeout", {})
        definition.timeout = moto("batch.utils").lowercase_first_key(timeout)
        return definition

    _models.JobDefinition.create_from_cloudformation_json = classmethod(cast(Any, create))
    _models.ComputeEnvironment.create_from_cloudformation_json = classmethod(
        cast(Any, _environment)
    )
    for kind, delete in (
        (_models.JobQueue, "delete_job_queue"),
        (_models.ComputeEnvironment, "delete_compute_environment"),
    ):
        _deleted_with_its_stack(kind, delete)
    submit = _models.BatchBackend.submit_job

    def submit_job(self: Any, job_name: str, job_def_id: str, *about: Any, **more: Any) -> Any:
        definition = self.get_job_definition(job_def_id)
        if definition is None or definition.status != "ACTIVE":
            raise moto("batch.exceptions").ClientException(
                f"JobDefinition name {job_def_id} does not exist or is not in ACTIVE status"
            )
        return submit(self, job_name, job_def_id, *about, **more)

    _models.BatchBackend.submit_job = submit_job
    _models.JobDefinition.update_from_cloudformation_json = classmethod(cast(Any, _next_revision))
    _models.JobDefinition.delete = lambda self, account_id, region: self.deregister()


def _with_exit_code(details: Any) -> Any:
    """Of a container that has ended, moto does not say how.

    https://docs.aws.amazon.com/batch/latest/APIReference/API_ContainerDetail.html
    """

    def described(self: Any) -> dict[str, Any]:
        code = {} if self.exit_code is None else {"exitCode": self.exit_code}
        return {**details(self), **code}

    return described


def _next_revision(
    cls: Any, original_resource: Any, new_resource_name: str, **document: Any
) -> Any:
    """A new revision of a job definition; the one before is deregistered.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-batch-jobdefinition-resourceretentionpolicy.html
    """
    given = document["cloudformation_json"]["Properties"]
    kept = given.get("ResourceRetentionPolicy", {}).get("SkipDeregisterOnUpdate", False)
    made = cls.create_from_cloudformation_json(original_resource.name, **document)
    if not kept:
        original_resource.deregister()
    return made


def _run(job: Any, platform: Platform) -> None:
    definition = job.job_definition
    image = platform.images[definition.container_properties["image"]]
    argv = _confined(job, platform, str(image.folder), image.entrypoint)
    own = {each["name"]: each["value"] for each in job._get_container_property("environment", [])}
    env = {
        "PATH": platform.path,
        "HOME": "/",  # of a user that has only a number
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_DEFAULT_REGION": definition._region,
        "AWS_BATCH_JOB_ID": job.job_id,
        "PYTHONUNBUFFERED": "1",
        **image.env,
        **own,
        "AWS_ENDPOINT_URL": platform.endpoint,
    }
    strategy = definition.retry_strategy or {}
    left = int(strategy.get("attempts", 1))
    while True:
        env["AWS_BATCH_JOB_ATTEMPT"] = str(len(job.attempts) + 1)
        code, out_of_time = _attempt(job, argv, env, str(image.folder))
        left -= 1
        if not code or not left or job.stop or out_of_time or not _is_tried_again(strategy, code):
            break  # https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html
        job.job_stopped_at = datetime.now()
        job._stop_attempt()
    if code and not job.stop:
        job.job_stopped_reason = _OUT_OF_TIME if out_of_time else _reason(code)
    job._mark_stopped(success=code == 0 and not job.stop)


def _confined(
    job: Any, platform: Platform, folder: str, entrypoint: Sequence[str]
) -> Sequence[str]:
    """The command of a job, in a sandbox where this machine permits one."""
    command = [*entrypoint, *job._get_container_property("command", [])]
    if not platform.confined:
        return command
    disk = job._get_container_property("ephemeralStorage", None) or {}
    about = {
        "folder": folder,
        "megabytes": int(disk.get("sizeInGiB", _LEAST_GIB)) * 1024,
        "shared": platform.shared,
        "is_job": True,
    }
    return [platform.python, "-I", sandbox.__file__, json.dumps(about), *command]


def _attempt(
    job: Any, argv: Sequence[str], env: Mapping[str, str], folder: str
) -> tuple[int, bool]:
    """Run the command once; its exit code, and whether it timed out."""
    job.job_started_at = datetime.now()
    job.log_stream_name = job._stream_name
    job.status = moto("batch.utils").JobStatus.RUNNING
    job._start_attempt()
    process = subprocess.Popen(
        argv,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    job.process = process
    if job.stop:
        process.kill()
    seconds = job._get_attempt_duration()
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, end) if seconds else None
    if timer is not None:
        timer.start()
    output = process.communicate()[0]
    if timer is not None:
        timer.cancel()
    _log(job, output)
    job.exit_code = process.returncode
    job.latest_attempt["container"]["exitCode"] = process.returncode
    return process.returncode, late.is_set()


def _log(job: Any, output: str) -> None:
    options = (job._get_container_property("logConfiguration", {}) or {}).get("options", {})
    group = options.get("awslogs-group", job._log_group)
    job._log_backend.ensure_log_group(group)
    job._log_backend.ensure_log_stream(group, job.log_stream_name)
    now = int(time.time() * 1000)
    lines = [{"timestamp": now, "message": line} for line in output.splitlines()]
    if lines:
        job._log_backend.put_log_events(group, job.log_stream_name, lines)


def _reason(code: int) -> str:
    """Why a job's attempt ended; SIGTERM is how a host that is reclaimed ends it."""
    return _RECLAIMED if code == -signal.SIGTERM else _ENDED


def _is_tried_again(strategy: Mapping[str, Any], code: int) -> bool:
    """The action of the first matching condition; without one, a failed job is retried."""
    described = {
        "onExitCode": str(code if code >= 0 else 128 - code),
        "onReason": "",
        "onStatusReason": _reason(code),
    }
    for condition in strategy.get("evaluateOnExit", []):
        patterns = {name: condition[name] for name in described if name in condition}
        if all(fnmatchcase(described[name], pattern) for name, pattern in patterns.items()):
            return bool(condition["action"].upper() == "RETRY")
    return True


def _environment(
    cls: Any,
    resource_name: str,
    cloudformation_json: Any,
    account_id: str,
    region_name: str,
    **more: Any,
) -> Any:
    """A compute environment; jobs are processes, so its networks and role are ignored."""
    given = cloudformation_json["Properties"]
    resources = moto("batch.utils").lowercase_first_key(given.get("ComputeResources", {}))
    where = {"account_id": account_id, "region_name": region_name}
    environment = cls(resource_name, given["Type"], "ENABLED", resources, "", **where)
    backend = _models.batch_backends[account_id][region_name]
    backend._compute_environments[environment.arn] = environment
    return environment


def _deleted_with_its_stack(kind: Any, delete: str) -> None:
    def deleted(
        cls: Any, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        getattr(_models.batch_backends[account_id][region_name], delete)(resource_name)

    kind.delete_from_cloudformation_json = classmethod(deleted)
