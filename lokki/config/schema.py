"""The sections of the configuration, and their keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, get_type_hints

from lokki.errors import ConfigError
from lokki.target import Target

Architecture = Literal["x86_64", "arm64"]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


def _key(
    default: Any,
    description: str,
    *,
    least: int | None = None,
    most: int | None = None,
    env: str | None = None,
    option: str | None = None,
    secret: bool = False,
) -> Any:
    """A key: its default, meaning and range, and the variable and option that set it.

    The value of a ``secret`` one is never shown.
    """
    metadata = {
        "description": description,
        "least": least,
        "most": most,
        "env": env,
        "option": option,
        "secret": secret,
    }
    if default in (dict, list):
        return field(default_factory=default, repr=default is list, metadata=metadata)
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True)
class Roles:
    """Existing IAM roles; without one, a least-privilege role is made."""

    pipeline: str | None = _key(None, "ARN of the role of the state machine")
    lambda_: str | None = _key(None, "ARN of the role of the Lambda functions")


@dataclass(frozen=True)
class Network:
    """The network of the functions; without one, they have AWS's, with access to the internet."""

    subnets: str | None = _key(None, "subnets of the functions, comma-separated")
    security_groups: str | None = _key(None, "their security groups, comma-separated")


@dataclass(frozen=True)
class Scheduled:
    """How EventBridge Scheduler starts the runs of a schedule."""

    retries: int | None = _key(
        None, "how often a start is tried again; if not set, 185 times", least=0, most=185
    )
    max_age: int | None = _key(
        None,
        "seconds after its time until which a run may start; if not set, a day",
        least=60,
        most=86_400,
    )
    dead_letter_queue: str | None = _key(
        None, "ARN of the SQS queue of the times at which no run could start, or new"
    )


@dataclass(frozen=True)
class Aws:
    """Where flows are deployed."""

    artifact_bucket: str | None = _key(
        None, "S3 bucket of payloads and packages", env="LOKKI_ARTIFACT_BUCKET"
    )
    ecr_repo_prefix: str = _key(
        "", "ECR repository prefix of images; empty: no push", env="LOKKI_ECR_REPO_PREFIX"
    )
    endpoint: str | None = _key(
        None, "URL of an emulator, for every AWS client", option="--endpoint"
    )
    region: str | None = _key(None, "AWS region; none: that of the AWS profile", option="--region")
    deployment: str | None = _key(
        None,
        "name of a deployment beside others of the same flows: it ends their names on AWS",
        option="--deployment",
    )
    roles: Roles = field(default_factory=Roles)
    permissions_boundary: str | None = _key(
        None, "ARN of the policy that bounds each role that is made"
    )
    policies: str | None = _key(
        None, "ARNs of managed policies of the steps' role, comma-separated"
    )
    statements: list[dict[str, Any]] = _key(list, "additional statements of the steps' role")
    kms_key: str | None = _key(
        None, "ARN of the KMS key of the bucket that is made, of logs, variables and queues"
    )
    state_machine_logs: Literal["OFF", "FATAL", "ERROR", "ALL"] = _key(
        "OFF", "which events of runs Step Functions logs"
    )
    log_retention: int = _key(30, "days that logs are kept", least=1, most=3653)
    notify: str | None = _key(
        None, "ARN of the SNS topic, or the e-mail address, for notices of failed runs"
    )
    schedule: Scheduled = field(default_factory=Scheduled)
    target: Target = _key(
        "stepfunctions",
        "what runs a flow without `@flow(target=…)`: a state machine, or a durable function of "
        "Lambda",
    )
    execution_timeout: int = _key(
        7 * 24 * 60 * 60,
        "seconds that a run of a durable function may take",
        least=1,
        most=31_622_400,
    )
    execution_retention: int = _key(
        14,
        "days that AWS keeps what it knows of an ended run of a durable function",
        least=1,
        most=90,
    )
    map: Literal["standard", "express"] = _key(
        "standard", "executions of a map's items; express ones are cheaper, and end in five minutes"
    )
    tracing: bool = _key(False, "whether runs are traced by X-Ray")
    network: Network = field(default_factory=Network)
    tags: dict[str, str] = _key(dict, "tags of all resources, besides lokki:flow")

    def deployed_name(self, flow: str) -> str:
        """The name of a flow on AWS: of its stack, state machine, log group and folder.

        Raises ConfigError for a deployment that cannot be part of one.
        """
        if self.deployment is None:
            return flow
        if not re.fullmatch(r"[A-Za-z0-9]{1,19}", self.deployment):
            raise ConfigError(
                f"aws.deployment is {self.deployment!r}, but it ends names on AWS: use 1 to 19 "
                'letters and digits, "test", say'
            )
        return f"{flow}-{self.deployment}"


@dataclass(frozen=True)
class Lambda:
    """The Lambda functions of a flow's steps."""

    package_type: Literal["image", "zip"] = _key("image", "how the code is packaged")
    base_image: str | None = _key(None, "base image; none: AWS's for the Python in use")
    timeout: int = _key(900, "seconds that a call may take", least=1, most=900)
    memory: int = _key(512, "MB of memory", least=128, most=10240)
    image_tag: str = _key("latest", "tag of the image", option="--image-tag")
    architecture: Architecture = _key("x86_64", "processor architecture")
    concurrency: int | None = _key(
        None,
        "most functions of a map at a time; if not set, `deploy` asks for the account's, and "
        "others use 1,000",
        least=1,
        most=10_000,
    )
    ephemeral_storage: int | None = _key(
        None, "MB of /tmp; if not set, 512", least=512, most=10_240
    )
    reserved_concurrency: int | None = _key(
        None,
        "functions of the account that are reserved for each step of a map, which has no more",
        least=1,
    )
    layers: str | None = _key(None, "ARNs of layers of a ZIP, comma-separated")
    include: str = _key("", "globs of files beside the flow that are packaged too, comma-separated")
    env: dict[str, str] = _key(dict, "environment variables of the functions")


@dataclass(frozen=True)
class Batch:
    """AWS Batch, for steps with ``job_type="batch"``."""

    job_queue: str | None = _key(None, "name or ARN of the job queue")
    job_definition_name: str | None = _key(
        None, "name of the job definition", env="LOKKI_BATCH_JOB_DEFINITION"
    )
    timeout_seconds: int = _key(3600, "seconds that a job may take", least=60)
    vcpu: int = _key(2, "virtual CPUs of a job", least=1)
    memory_mb: int = _key(4096, "MB of memory of a job", least=512)
    platform: Literal["FARGATE", "EC2"] = _key("FARGATE", "what the jobs run on, like the queue")
    gpu_job_queue: str | None = _key(None, "name or ARN of the job queue of steps with gpu")
    spot: bool = _key(
        False, "whether AWS may reclaim the hosts of jobs, which run again; of queues that are made"
    )
    instance_types: str | None = _key(
        None,
        "EC2 instance types or families, comma-separated, of the queue that is made; if not set, "
        "AWS's default for the architecture",
    )
    gpu_instance_types: str | None = _key(
        None,
        "the same for steps with gpu; if not set, g4dn, g5 and g6, or g5g for arm64",
    )
    subnets: str | None = _key(
        None, "subnets, comma-separated, of the queues that are made if none is named"
    )
    security_groups: str | None = _key(None, "their security groups, comma-separated")
    max_vcpus: int = _key(256, "most virtual CPUs at a time of all jobs of such a queue", least=1)
    image: str | None = _key(None, "image of the jobs; none: that of the Lambda functions")
    env: dict[str, str] = _key(dict, "environment variables of the jobs")


@dataclass(frozen=True)
class Logging:
    """What a run prints on stderr."""

    level: Level = _key("INFO", "lowest level shown", env="LOKKI_LOG_LEVEL", option="--log-level")
    format: Literal["human", "json"] = _key(
        "human", "lines for people, or JSON lines", option="--log-format"
    )
    progress_interval: int = _key(
        10, "percent of a map between two progress lines", least=1, most=100
    )
    show_timestamps: bool = _key(True, "whether lines for people begin with the time")


@dataclass(frozen=True)
class Local:
    """Runs on this machine."""

    journal: str = _key(
        "~/.lokki/lokki.db", "file of the journal, or postgresql://user@host/database"
    )
    payloads: str | None = _key(
        None,
        "folder or s3://bucket/prefix of large results; none: beside the journal's file, "
        "~/.lokki/payloads with PostgreSQL",
    )
    concurrency: int | None = _key(
        None,
        "most calls at a time; if not set, 4 x cores in threads and 100 async",
        least=1,
        option="--concurrency",
    )
    processes: int | None = _key(
        None, "most worker processes; if not set, one for each core", least=1, option="--processes"
    )
    worker_threads: int | None = _key(
        None,
        "threads of OpenMP, BLAS, Numba and Polars in a worker process; if not set, the cores "
        "divided by the workers",
        least=1,
    )
    worker_idle: int = _key(60, "seconds without a call after which a worker ends", least=1)
    worker_calls: int | None = _key(
        None, "calls after which a worker is replaced; if not set, any number", least=1
    )
    worker_memory: int | None = _key(
        None, "megabytes in memory over which a worker is replaced; if not set, any", least=1
    )
    cluster: str | None = _key(
        None, "address of the Dask scheduler whose workers run the items of maps"
    )
    reconnect: int = _key(
        300,
        "seconds for which the Dask scheduler, or all its workers, may be away, and the PostgreSQL "
        "server when `lokki serve` starts",
        least=1,
    )
    previews: bool = _key(
        True, "whether the first rows of DataFrames that steps return are recorded, to be shown"
    )
    waits: bool = _key(
        True, "whether retries, and items that a RetryLater has put off, wait; false for tests"
    )


@dataclass(frozen=True)
class Server:
    """The service, `lokki serve`."""

    flows: str = _key("", "files, modules or folders with flows, comma-separated; empty: here")
    host: str = _key("127.0.0.1", "address to listen on")
    port: int = _key(8765, "port to listen on", least=0, most=65_535)
    url: str | None = _key(
        None, "where browsers find the dashboard of this journal, for links in notebooks"
    )
    allowed_hosts: str | None = _key(
        None,
        "names of a server with a token, comma-separated, besides IP addresses, localhost and its "
        "machine's name",
    )
    trusted_proxies: str | None = _key(
        None,
        "IP addresses and networks, comma-separated, of proxies whose X-Forwarded-For and "
        "X-Forwarded-Proto count",
    )
    runners: int = _key(1, "processes that run flows", least=1, most=64)
    max_runs: int = _key(16, "most runs that a runner has at a time", least=1)
    max_queued: int = _key(10_000, "most runs that wait for a runner", least=1)
    max_resumes: int = _key(3, "how often a run is resumed after its runner dies", least=0)
    import_patience: int = _key(
        30, "seconds that runs wait for a file that cannot be imported, before they fail", least=0
    )
    catch_up: bool = _key(False, "whether a schedule starts one run for the ticks it missed")
    grace: int = _key(30, "seconds that runs have to finish when the server stops", least=0)


@dataclass(frozen=True)
class Dashboard:
    """The pages of the service."""

    editor: str | None = _key(
        None,
        "editor that opens lines of code: vscode, vscodium, cursor, zed, pycharm, idea, or a URL "
        "with {file} and {line}",
    )


@dataclass(frozen=True)
class Notify:
    """Notices of runs that end on this machine or a server."""

    on: str = _key(
        "failed",
        "ends of which there are notices: failed, succeeded, cancelled; comma-separated; or never",
    )
    webhook: str | None = _key(None, "URL that notices are posted to, as JSON", secret=True)
    slack: str | None = _key(
        None, "URL of an incoming webhook of Slack, or of what takes the same", secret=True
    )
    email: str | None = _key(None, "addresses, comma-separated, that notices are mailed to")
    smtp: str = _key(
        "smtp://localhost",
        "mail server: smtp:// with STARTTLS where it is offered, or smtps://; then "
        "user:password@host:port",
        secret=True,
    )
    sender: str | None = _key(None, "address that mails are from; none: lokki at this machine")
    sns: str | None = _key(None, "ARN of an SNS topic that notices are published to")


@dataclass(frozen=True)
class Config:
    """All settings; ``origins`` says where the value of a dotted key or entry came from."""

    build_dir: str = _key("lokki-build", "folder that `build` writes")
    aws: Aws = field(default_factory=Aws)
    lambda_: Lambda = field(default_factory=Lambda)
    batch: Batch = field(default_factory=Batch)
    logging: Logging = field(default_factory=Logging)
    local: Local = field(default_factory=Local)
    server: Server = field(default_factory=Server)
    dashboard: Dashboard = field(default_factory=Dashboard)
    notify: Notify = field(default_factory=Notify)
    limits: dict[str, str | int] = _key(
        dict,
        "rates (500/m) and numbers of calls at a time (2) that runs share, for `@step(limit=…)`",
    )
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def values(self) -> dict[str, Any]:
        """The value of every dotted key."""
        return dict(_values(self))


@cache
def kinds(section: Any) -> dict[str, Any]:
    """The types of a section's fields."""
    return get_type_hints(section)


def _values(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for each in fields(section):
        name, value = prefix + each.name.rstrip("_"), getattr(section, each.name)
        if is_dataclass(value):
            yield from _values(value, f"{name}.")
        elif each.metadata:
            yield name, value
