"""Configuration: one typed schema, its sources in order, and where each value came from.

A later source wins: the defaults, ``~/.lokki/lokki.toml``, ``./lokki.toml``, the environment,
arguments. Tables are merged key by key; any other value, even a list, is replaced as a whole.
"""

from __future__ import annotations

import dataclasses
import os
import re
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lokki.errors import ConfigError, JournalError

FILE = "lokki.toml"
DEFAULT = "default"

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
) -> Any:
    """A key: its default, meaning and range, and the variable and option that set it."""
    metadata = {
        "description": description,
        "least": least,
        "most": most,
        "env": env,
        "option": option,
    }
    if default in (dict, list):
        return field(default_factory=default, repr=default is list, metadata=metadata)
    return field(default=default, metadata=metadata)


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

    journal: str = _key("~/.lokki/lokki.db", "file of the journal")
    payloads: str | None = _key(
        None, "folder or s3://bucket/prefix of large results; none: beside the journal"
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


@dataclass(frozen=True)
class Server:
    """The service, `lokki serve`."""

    flows: str = _key("", "files, modules or folders with flows, comma-separated; empty: here")
    host: str = _key("127.0.0.1", "address to listen on")
    port: int = _key(8765, "port to listen on", least=0, most=65_535)
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
class Config:
    """All settings; ``origins`` says where the value of a dotted key or entry came from."""

    build_dir: str = _key("lokki-build", "folder that `build` writes")
    aws: Aws = field(default_factory=Aws)
    lambda_: Lambda = field(default_factory=Lambda)
    batch: Batch = field(default_factory=Batch)
    logging: Logging = field(default_factory=Logging)
    local: Local = field(default_factory=Local)
    server: Server = field(default_factory=Server)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def values(self) -> dict[str, Any]:
        """The value of every dotted key."""
        return {name: _get(self, name) for name in KEYS}


@dataclass(frozen=True)
class Key:
    """One key of the schema: its dotted name, its default, and what sets it.

    ``kind`` is its type without None, which ``optional`` allows. ``env`` is the variable and
    ``option`` the option that sets it; few keys have an option. ``variables`` are all variables
    that set it; the first one takes precedence.
    """

    name: str
    kind: Any
    optional: bool
    default: Any
    description: str
    least: int | None
    most: int | None
    env: str
    option: str | None

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.env, _env(self.name))))

    @property
    def is_table(self) -> bool:
        """Whether it is a table with the user's names, and texts that may be secret."""
        return get_origin(self.kind) is dict

    @property
    def is_list(self) -> bool:
        """Whether it is a list of tables."""
        return get_origin(self.kind) is list

    @property
    def metavar(self) -> str:
        """The placeholder for its value in the help of its option: ``INT``, ``human|json``."""
        return "|".join(get_args(self.kind)) or self.kind.__name__.upper()

    @property
    def allowed(self) -> str:
        """What its value must be, in words."""
        if get_origin(self.kind) is Literal:
            *others, last = get_args(self.kind)
            return f"{', '.join(others)} or {last}"
        if self.kind is int:
            most = "" if self.most is None else f" to {self.most}"
            return f"a whole number from {self.least}{most}"
        if self.is_list:
            return f"tables below [[{self.name}]]"
        return {bool: "true or false", str: "a text"}.get(self.kind, "a table of texts")

    def check(self, value: Any, as_text: bool) -> Any:
        """The value in its type; ``as_text`` reads it from a variable's or argument's text.

        The case of a choice does not matter. Raises ValueError, which says what is allowed.
        """
        if as_text and isinstance(value, str):
            value = self._read(value)
        if get_origin(self.kind) is Literal and isinstance(value, str):
            written = {choice.lower(): choice for choice in get_args(self.kind)}
            value = written.get(value.lower(), value)
        if self.is_table:
            return self._texts(value, as_text)
        if value == "" and self.optional:
            return None
        if self.kind is str and value == "" != self.default:
            raise ValueError(f"key '{self.name}' must not be empty")
        if not self._holds(value):
            raise ValueError(f"key '{self.name}' must be {self.allowed}, not {_shown(value)}")
        return value

    def _read(self, text: str) -> Any:
        """The value that a text stands for, otherwise the text."""
        with suppress(ValueError, RecursionError):
            if self.kind is bool:
                return _TRUTHS.get(text.lower(), text)
            if self.kind is int:
                return int(text)
            if self.is_table or self.is_list:
                import json

                return json.loads(text)
        return text

    def _holds(self, value: Any) -> bool:
        if get_origin(self.kind) is Literal:
            return isinstance(value, str) and value in get_args(self.kind)
        if self.kind is int:
            most = value if self.most is None else self.most
            return type(value) is int and (self.least or 0) <= value <= most
        if self.is_list:
            return isinstance(value, list) and all(isinstance(each, dict) for each in value)
        return type(value) is self.kind and "\0" not in str(value)

    def _texts(self, table: Any, as_text: bool) -> Any:
        """A table of texts; errors do not show values, which may be secret."""
        if not isinstance(table, dict):
            hint = '{"NAME": "text"}' if as_text else f'[{self.name}] and below it NAME = "text"'
        elif wrong := [name for name, text in table.items() if not isinstance(text, str)]:
            hint = f"{', '.join(wrong)} in quotes"
        else:
            return table
        raise ValueError(
            f"key '{self.name}' must be {self.allowed}: write {hint} "
            "(what is there may be secret and is not shown)"
        )


_TRUTHS = {"true": True, "1": True, "yes": True, "on": True} | {
    "false": False, "0": False, "no": False, "off": False,
}  # fmt: skip


@cache
def _kinds(section: Any) -> dict[str, Any]:
    """The types of a section's fields."""
    return get_type_hints(section)


def _keys(section: Any, prefix: str = "") -> Iterator[Key]:
    kinds = _kinds(section)
    for each in dataclasses.fields(section):
        kind, name = kinds[each.name], prefix + each.name.rstrip("_")
        if dataclasses.is_dataclass(kind):
            yield from _keys(kind, f"{name}.")
        elif each.metadata:
            optional = NoneType in get_args(kind)
            base = get_args(kind)[0] if optional else kind
            made = each.default_factory
            default = each.default if made is dataclasses.MISSING else made()
            metadata: dict[str, Any] = {**each.metadata, "env": each.metadata["env"] or _env(name)}
            yield Key(name, base, optional, default, **metadata)


def _env(name: str) -> str:
    return "LOKKI_" + name.replace(".", "_").upper()


KEYS: Mapping[str, Key] = {key.name: key for key in _keys(Config)}
"""The schema, by dotted name, in the order of the documentation."""

_TABLES = {name.rpartition(".")[0] for name in KEYS} - {""}


def reference() -> str:
    """The schema as a table in Markdown, for the documentation."""
    lines = ["| key | type | default | set by | meaning |", "|---|---|---|---|---|"]
    for key in KEYS.values():
        default = "none" if key.default is None else f"`{_toml(key.default)}`"
        setters = f"`{key.env}`" + (f", `{key.option}`" if key.option else "")
        lines.append(
            f"| `{key.name}` | {key.allowed} | {default} | {setters} | {key.description} |"
        )
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def load(given: Mapping[str, Any] | None = None) -> Config:
    """The configuration of the working directory.

    ``given`` are arguments by dotted key; None means not given. Raises ConfigError, which has a
    line for each wrong value: the source, the key, the value and what is allowed.
    """
    values: dict[str, Any] = {key.name: key.default for key in KEYS.values()}
    origins = dict.fromkeys(values, DEFAULT)
    problems: list[str] = []
    for origin, found, as_text in _sources(given or {}, problems):
        for name, value in found.items():
            try:
                checked = _checked(name, value, as_text)
            except ValueError as error:
                problems.append(f"{origin}: {error}")
                continue
            if KEYS[name].is_table:
                origins |= {f"{name}.{entry}": origin for entry in checked}
                checked = {**values[name], **checked}
            values[name], origins[name] = checked, origin
    if problems:
        raise ConfigError("\n".join(problems))
    made: Config = _made(Config, values, origins=origins)
    return made


def _sources(
    given: Mapping[str, Any], problems: list[str]
) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """The sources of values, the weakest first: name, values, whether these are text."""
    for folder in ("~/.lokki", "."):
        yield f"{folder}/{FILE}", _file(f"{folder}/{FILE}", problems), False
    for key in KEYS.values():
        for variable in key.variables:
            text = os.environ.get(variable)
            if text or text == key.default == "":  # otherwise an empty variable counts as unset
                yield variable, {key.name: text}, True
                break
    for name, value in given.items():
        if value is not None:
            option = KEYS[name].option if name in KEYS else None
            yield option or "argument", {name: value}, True


def _file(name: str, problems: list[str]) -> dict[str, Any]:
    """The dotted keys of a file; none if it is missing or unreadable."""
    try:
        text = Path(name).expanduser().read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # no file, no home directory
        return {}
    except OSError as error:
        problems.append(f"{name}: the file cannot be read: {error.strerror}")
        return {}
    except UnicodeDecodeError as error:
        problems.append(f"{name}: the file is not UTF-8 (byte {error.start}): save it as UTF-8")
        return {}
    import tomllib

    try:
        return _flat(tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        problems.append(f"{name}: the file is not TOML: {error}")
        return {}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A file's tables as dotted keys; tables with the user's names stay tables."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + (repr(key) if "." in key else key)
        if isinstance(value, dict) and name in _TABLES:
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _checked(name: str, value: Any, as_text: bool) -> Any:
    if name in KEYS:
        return KEYS[name].check(value, as_text)
    if name in _TABLES:
        raise ValueError(
            f"key '{name}' must be a table, not {_shown(value)}: write [{name}] and its keys below"
        )
    raise ValueError(_unknown(name))


def _unknown(name: str) -> str:
    """What to write for an unknown key. Its value is not shown: it may belong in a secret table."""
    import difflib

    table, _, last = name.rpartition(".")
    every = [*KEYS, *sorted(_TABLES)]
    here = [each for each in every if each.rpartition(".")[0] == table]
    for known in (here, every):
        by_last = {each.rpartition(".")[2]: each for each in known}
        for near in difflib.get_close_matches(last, by_last, 1):
            return f"unknown key '{name}'; did you mean '{by_last[near]}'?"
    return f"unknown key '{name}'; known keys: {', '.join(here)}"


def _shown(value: Any) -> str:
    """A value in words, without its content, which may be a misplaced secret table."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return reprlib.repr(value)


def _made(section: Any, values: Mapping[str, Any], prefix: str = "", **more: Any) -> Any:
    kinds = _kinds(section)
    for each in dataclasses.fields(section):
        name = prefix + each.name.rstrip("_")
        if dataclasses.is_dataclass(kinds[each.name]):
            more[each.name] = _made(kinds[each.name], values, f"{name}.")
        elif name in values:
            more[each.name] = values[name]
    return section(**more)


def _get(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part if hasattr(config, part) else f"{part}_")
    return config


# Variables

_NO_SETTINGS = {
    "LOKKI_SERVER_TOKEN", "LOKKI_STEP_NAME", "LOKKI_MODULE_NAME", "LOKKI_EVENT", "LOKKI_REDRIVEN",
}  # fmt: skip
"""Variables of lokki that set no key."""
_SECRET = "LOKKI_SECRET_"  # noqa: S105 - what the names of variables begin with


def unknown_variables() -> list[str]:
    """A line for each unknown variable whose name looks like one of lokki's.

    It suggests what was meant, without the value, which may be secret.
    """
    known = {variable for key in KEYS.values() for variable in key.variables} | _NO_SETTINGS
    return [
        f"the variable {name} is unknown; {_meant(name, known)}"
        for name, text in sorted(os.environ.items())
        if name.startswith("LOKKI_") and text and name not in known and not name.startswith(_SECRET)
    ]


def _meant(name: str, known: set[str]) -> str:
    import difflib

    wanted = name.removeprefix("LOKKI_")
    secret = _SECRET + (wanted.partition("_")[2] or "<NAME>")
    names = {each.removeprefix("LOKKI_"): each for each in sorted(known | {secret})}
    ending = [each for each in names if each.endswith(f"_{wanted}")]
    for near in (*ending[:1], *difflib.get_close_matches(wanted, names, 1)):
        return f"did you mean {names[near]}?"
    return "LOKKI_<SECTION>_<KEY> sets a key, and `lokki config` lists the keys"


# Paths


def journal_path(config: Config) -> Path:
    """The journal's file. Raises as `local_path`."""
    return local_path(config.local.journal, _setting(config, "local.journal"))


def payloads_path(journal: Path, config: Config) -> Path:
    """The directory of large payloads, by default beside the journal. Raises as `local_path`."""
    if config.local.payloads is None:
        return journal.parent / "payloads"
    return local_path(config.local.payloads, _setting(config, "local.payloads"))


def anchored(config: Config) -> Config:
    """The configuration with absolute paths, for use before a change of folder."""
    local = config.local
    payloads = local.payloads and _absolute(local.payloads)
    local = dataclasses.replace(local, journal=_absolute(local.journal), payloads=payloads)
    return dataclasses.replace(config, local=local)


def _absolute(path: str) -> str:
    return path if path.startswith(("~", "s3://")) else os.path.abspath(path)


def _setting(config: Config, name: str) -> str:
    origin = config.origins.get(name, DEFAULT)
    return origin if origin in KEYS[name].variables else f"{name} ({origin})"


def local_path(path: str | os.PathLike[str], setting: str) -> Path:
    """The path of a setting, with its ``~`` expanded.

    Raises JournalError, which names the setting, if the home directory is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise JournalError(
            f"{setting}: the home directory in '{os.fspath(path)}' is unknown; "
            "write the path without '~'"
        ) from None
