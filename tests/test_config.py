"""Configuration: where values come from, which wins, and what is told of mistakes."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import forking
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki import ConfigError, Engine, JournalError
from lokki.config import (
    KEYS,
    Config,
    journal_path,
    load,
    payloads_path,
    reference,
    unknown_variables,
)
from lokki.runtime import event

ROOT = Path(__file__).parents[1]
BIRDS = ROOT / "examples" / "birds.py"
DOCS = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

HOME_FILE = "~/.lokki/lokki.toml"
HERE_FILE = "./lokki.toml"

PROMISED = {  # key: variable, default
    "build_dir": ("LOKKI_BUILD_DIR", "lokki-build"),
    "aws.artifact_bucket": ("LOKKI_ARTIFACT_BUCKET", None),
    "aws.ecr_repo_prefix": ("LOKKI_ECR_REPO_PREFIX", ""),
    "aws.endpoint": ("LOKKI_AWS_ENDPOINT", None),
    "aws.region": ("LOKKI_AWS_REGION", None),
    "aws.deployment": ("LOKKI_AWS_DEPLOYMENT", None),
    "aws.roles.pipeline": ("LOKKI_AWS_ROLES_PIPELINE", None),
    "aws.roles.lambda": ("LOKKI_AWS_ROLES_LAMBDA", None),
    "aws.permissions_boundary": ("LOKKI_AWS_PERMISSIONS_BOUNDARY", None),
    "aws.policies": ("LOKKI_AWS_POLICIES", None),
    "aws.statements": ("LOKKI_AWS_STATEMENTS", []),
    "aws.kms_key": ("LOKKI_AWS_KMS_KEY", None),
    "aws.state_machine_logs": ("LOKKI_AWS_STATE_MACHINE_LOGS", "OFF"),
    "aws.log_retention": ("LOKKI_AWS_LOG_RETENTION", 30),
    "aws.notify": ("LOKKI_AWS_NOTIFY", None),
    "aws.schedule.retries": ("LOKKI_AWS_SCHEDULE_RETRIES", None),
    "aws.schedule.max_age": ("LOKKI_AWS_SCHEDULE_MAX_AGE", None),
    "aws.schedule.dead_letter_queue": ("LOKKI_AWS_SCHEDULE_DEAD_LETTER_QUEUE", None),
    "aws.target": ("LOKKI_AWS_TARGET", "stepfunctions"),
    "aws.execution_timeout": ("LOKKI_AWS_EXECUTION_TIMEOUT", 604800),
    "aws.execution_retention": ("LOKKI_AWS_EXECUTION_RETENTION", 14),
    "aws.map": ("LOKKI_AWS_MAP", "standard"),
    "aws.tracing": ("LOKKI_AWS_TRACING", False),
    "aws.network.subnets": ("LOKKI_AWS_NETWORK_SUBNETS", None),
    "aws.network.security_groups": ("LOKKI_AWS_NETWORK_SECURITY_GROUPS", None),
    "aws.tags": ("LOKKI_AWS_TAGS", {}),
    "lambda.package_type": ("LOKKI_LAMBDA_PACKAGE_TYPE", "image"),
    "lambda.base_image": ("LOKKI_LAMBDA_BASE_IMAGE", None),
    "lambda.timeout": ("LOKKI_LAMBDA_TIMEOUT", 900),
    "lambda.memory": ("LOKKI_LAMBDA_MEMORY", 512),
    "lambda.image_tag": ("LOKKI_LAMBDA_IMAGE_TAG", "latest"),
    "lambda.architecture": ("LOKKI_LAMBDA_ARCHITECTURE", "x86_64"),
    "lambda.concurrency": ("LOKKI_LAMBDA_CONCURRENCY", None),
    "lambda.ephemeral_storage": ("LOKKI_LAMBDA_EPHEMERAL_STORAGE", None),
    "lambda.reserved_concurrency": ("LOKKI_LAMBDA_RESERVED_CONCURRENCY", None),
    "lambda.layers": ("LOKKI_LAMBDA_LAYERS", None),
    "lambda.include": ("LOKKI_LAMBDA_INCLUDE", ""),
    "lambda.env": ("LOKKI_LAMBDA_ENV", {}),
    "batch.job_queue": ("LOKKI_BATCH_JOB_QUEUE", None),
    "batch.job_definition_name": ("LOKKI_BATCH_JOB_DEFINITION", None),
    "batch.timeout_seconds": ("LOKKI_BATCH_TIMEOUT_SECONDS", 3600),
    "batch.vcpu": ("LOKKI_BATCH_VCPU", 2),
    "batch.memory_mb": ("LOKKI_BATCH_MEMORY_MB", 4096),
    "batch.platform": ("LOKKI_BATCH_PLATFORM", "FARGATE"),
    "batch.gpu_job_queue": ("LOKKI_BATCH_GPU_JOB_QUEUE", None),
    "batch.spot": ("LOKKI_BATCH_SPOT", False),
    "batch.instance_types": ("LOKKI_BATCH_INSTANCE_TYPES", None),
    "batch.gpu_instance_types": ("LOKKI_BATCH_GPU_INSTANCE_TYPES", None),
    "batch.subnets": ("LOKKI_BATCH_SUBNETS", None),
    "batch.security_groups": ("LOKKI_BATCH_SECURITY_GROUPS", None),
    "batch.max_vcpus": ("LOKKI_BATCH_MAX_VCPUS", 256),
    "batch.image": ("LOKKI_BATCH_IMAGE", None),
    "batch.env": ("LOKKI_BATCH_ENV", {}),
    "logging.level": ("LOKKI_LOG_LEVEL", "INFO"),
    "logging.format": ("LOKKI_LOGGING_FORMAT", "human"),
    "logging.progress_interval": ("LOKKI_LOGGING_PROGRESS_INTERVAL", 10),
    "logging.show_timestamps": ("LOKKI_LOGGING_SHOW_TIMESTAMPS", True),
    "local.journal": ("LOKKI_LOCAL_JOURNAL", "~/.lokki/lokki.db"),
    "local.payloads": ("LOKKI_LOCAL_PAYLOADS", None),
    "local.concurrency": ("LOKKI_LOCAL_CONCURRENCY", None),
    "local.processes": ("LOKKI_LOCAL_PROCESSES", None),
    "local.worker_threads": ("LOKKI_LOCAL_WORKER_THREADS", None),
    "local.worker_idle": ("LOKKI_LOCAL_WORKER_IDLE", 60),
    "local.worker_calls": ("LOKKI_LOCAL_WORKER_CALLS", None),
    "local.worker_memory": ("LOKKI_LOCAL_WORKER_MEMORY", None),
    "local.cluster": ("LOKKI_LOCAL_CLUSTER", None),
    "local.reconnect": ("LOKKI_LOCAL_RECONNECT", 300),
    "local.previews": ("LOKKI_LOCAL_PREVIEWS", True),
    "local.waits": ("LOKKI_LOCAL_WAITS", True),
    "server.flows": ("LOKKI_SERVER_FLOWS", ""),
    "server.host": ("LOKKI_SERVER_HOST", "127.0.0.1"),
    "server.port": ("LOKKI_SERVER_PORT", 8765),
    "server.url": ("LOKKI_SERVER_URL", None),
    "server.allowed_hosts": ("LOKKI_SERVER_ALLOWED_HOSTS", None),
    "server.trusted_proxies": ("LOKKI_SERVER_TRUSTED_PROXIES", None),
    "server.runners": ("LOKKI_SERVER_RUNNERS", 1),
    "server.max_runs": ("LOKKI_SERVER_MAX_RUNS", 16),
    "server.max_queued": ("LOKKI_SERVER_MAX_QUEUED", 10_000),
    "server.max_resumes": ("LOKKI_SERVER_MAX_RESUMES", 3),
    "server.import_patience": ("LOKKI_SERVER_IMPORT_PATIENCE", 30),
    "server.catch_up": ("LOKKI_SERVER_CATCH_UP", False),
    "server.grace": ("LOKKI_SERVER_GRACE", 30),
    "dashboard.editor": ("LOKKI_DASHBOARD_EDITOR", None),
    "notify.on": ("LOKKI_NOTIFY_ON", "failed"),
    "notify.webhook": ("LOKKI_NOTIFY_WEBHOOK", None),
    "notify.slack": ("LOKKI_NOTIFY_SLACK", None),
    "notify.email": ("LOKKI_NOTIFY_EMAIL", None),
    "notify.smtp": ("LOKKI_NOTIFY_SMTP", "smtp://localhost"),
    "notify.sender": ("LOKKI_NOTIFY_SENDER", None),
    "notify.sns": ("LOKKI_NOTIFY_SNS", None),
    "limits": ("LOKKI_LIMITS", {}),
}
TABLES = ("aws.tags", "lambda.env", "batch.env", "limits")
NUMBERS_WITHOUT_DEFAULT = (
    "local.concurrency",
    "local.processes",
    "local.worker_threads",
    "local.worker_calls",
    "local.worker_memory",
    "lambda.concurrency",
    "lambda.ephemeral_storage",
    "aws.schedule.retries",
    "aws.schedule.max_age",
    "lambda.reserved_concurrency",
)
OPTIONS = {
    "logging.level": "--log-level",
    "logging.format": "--log-format",
    "local.concurrency": "--concurrency",
    "local.processes": "--processes",
}
DEPLOY_OPTIONS = {
    "aws.endpoint": "--endpoint",
    "aws.region": "--region",
    "aws.deployment": "--deployment",
    "lambda.image_tag": "--image-tag",
}
ALL_OPTIONS = {**OPTIONS, **DEPLOY_OPTIONS}


@contextmanager
def place(
    home: str | bytes = "", here: str | bytes = "", variables: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """A machine with these two files, if any, and only these variables; gives the folder."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LOKKI_")]:
            patch.delenv(name)
        root = Path(folder)
        for file, text in ((root / "home/.lokki", home), (root / "here", here)):
            file.mkdir(parents=True)
            if text:
                (file / "lokki.toml").write_bytes(
                    text if isinstance(text, bytes) else text.encode()
                )
        patch.setenv("HOME", str(root / "home"))
        for name, text in (variables or {}).items():
            patch.setenv(name, text)
        patch.chdir(root / "here")
        yield root / "here"


def told(arguments: Mapping[str, Any] | None = None) -> list[str]:
    """The lines that tell what is wrong."""
    with pytest.raises(ConfigError) as caught:
        load(arguments)
    return str(caught.value).split("\n")


# ---- which value holds --------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=5)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    key: st.dictionaries(st.sampled_from("ABC"), texts, max_size=3)
    if key in TABLES
    else st.booleans()
    if isinstance(default, bool)
    else st.integers(128, 900)
    if isinstance(default, int) or key in NUMBERS_WITHOUT_DEFAULT
    else texts
    for key, (_, default) in PROMISED.items()
} | {
    "aws.target": st.sampled_from(["stepfunctions", "durable"]),
    "aws.execution_retention": st.integers(1, 90),
    "aws.map": st.sampled_from(["standard", "express"]),
    "aws.state_machine_logs": st.sampled_from(["OFF", "FATAL", "ERROR", "ALL"]),
    "aws.schedule.retries": st.integers(0, 185),
    "aws.statements": st.lists(st.just({}), max_size=2),
    "lambda.package_type": st.sampled_from(["image", "zip"]),
    "lambda.architecture": st.sampled_from(["x86_64", "arm64"]),
    "batch.platform": st.sampled_from(["FARGATE", "EC2"]),
    "batch.memory_mb": st.integers(512, 99999),
    "lambda.ephemeral_storage": st.integers(512, 10_240),
    "logging.level": st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR"]),
    "logging.format": st.sampled_from(["human", "json"]),
    "logging.progress_interval": st.integers(1, 100),
    "local.concurrency": st.integers(1, 10**6),
    "local.processes": st.integers(1, 99),
    "server.runners": st.integers(1, 64),
}
sources = st.fixed_dictionaries({}, optional=VALUES)


def as_toml(values: Mapping[str, Any]) -> str:
    tables: dict[str, list[str]] = {}
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        if isinstance(value, dict):
            tables[key] = [f"{json.dumps(each)} = {_toml(value[each])}" for each in value]
        else:
            tables.setdefault(table, []).append(f"{name} = {_toml(value)}")
    top = tables.pop("", [])
    return "\n".join([*top, *(f"[{name}]\n" + "\n".join(tables[name]) for name in tables)])


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@given(home=sources, here=sources, variables=sources, arguments=sources)
def test_the_later_source_wins_key_by_key_and_tables_are_merged(home, here, variables, arguments):
    values = {key: default for key, (_, default) in PROMISED.items()}
    origins = dict.fromkeys(values, "default")
    for source, found in enumerate((home, here, variables, arguments)):
        for key, value in found.items():
            named = [HOME_FILE, HERE_FILE, PROMISED[key][0], ALL_OPTIONS.get(key, "argument")][
                source
            ]
            if key in TABLES:
                values[key] = {**values[key], **value}
                origins |= {f"{key}.{entry}": named for entry in value}
            else:
                values[key], origins[key] = value, named
    in_environment = {PROMISED[key][0]: as_text(value) for key, value in variables.items()}
    with place(as_toml(home), as_toml(here), in_environment):
        as_values, as_texts = load(arguments), load({k: as_text(v) for k, v in arguments.items()})
    for config in (as_values, as_texts):
        assert config.values() == values
        found_in = {key: config.origins[key] for key in origins}
        assert {**found_in, **dict.fromkeys(TABLES, "default")} == origins


def test_there_is_every_promised_key_with_its_default_and_no_other():
    with place():
        config = load()
    assert config.values() == {key: default for key, (_, default) in PROMISED.items()}
    assert config == Config()
    assert set(config.origins.values()) == {"default"}


def test_a_value_is_where_its_key_is():
    with place(here='[aws.roles]\nlambda = "arn"\n[lambda]\nmemory = 256\nenv = {A = "b"}'):
        config = load()
    assert (config.aws.roles.lambda_, config.lambda_.memory) == ("arn", 256)
    assert config.lambda_.env == {"A": "b"}


@pytest.mark.parametrize(("key", "variable"), [(k, name) for k, (name, _) in PROMISED.items()])
def test_each_key_has_its_variable(key, variable):
    value = _other(key)
    with place(variables={variable: as_text(value)}):
        config = load()
    assert config.values()[key] == value
    assert config.origins[f"{key}.NAME" if key in TABLES else key] == variable


@pytest.mark.parametrize("key", [key for key in PROMISED if key not in TABLES])
def test_each_key_has_the_variable_of_its_section_and_name(key):
    named, generic = PROMISED[key][0], f"LOKKI_{key.replace('.', '_').upper()}"
    value = _other(key)
    with place(variables={generic: as_text(value)}):
        config = load()
    assert (config.values()[key], config.origins[key]) == (value, generic)
    with place(variables={generic: "other", named: as_text(value)}):
        config = load()
    assert (config.values()[key], config.origins[key]) == (value, named)
    with place(variables={named: "", generic: as_text(value)}):
        empty = load().values()[key]
    may_be_empty = PROMISED[key][1] == "" and named != generic
    assert empty == ("" if may_be_empty else value)


def _other(key: str) -> Any:
    """A value that is not the default."""
    choices = {"logging.level": "DEBUG", "logging.format": "json", "lambda.package_type": "zip"}
    choices |= {"lambda.architecture": "arm64"}
    choices |= {"batch.platform": "EC2", "aws.statements": [{}]}
    choices |= {"aws.state_machine_logs": "ALL", "aws.schedule.retries": 7}
    choices |= {"aws.map": "express", "aws.target": "durable", "aws.execution_retention": 77}
    choices |= {table: {"NAME": "text"} for table in TABLES} | {"logging.progress_interval": 77}
    choices |= {"server.runners": 7} | {
        key: not known for key, (_, known) in PROMISED.items() if isinstance(known, bool)
    }
    number = isinstance(PROMISED[key][1], int) or key in NUMBERS_WITHOUT_DEFAULT
    return choices.get(key, 777 if number else "other")


@pytest.mark.parametrize(
    ("text", "value"),
    [(text, True) for text in ("true", "1", "yes", "on", "True", "ON")]
    + [(text, False) for text in ("false", "0", "no", "off", "False", "OFF")],
)
def test_truths_in_variables(text, value):
    with place(variables={"LOKKI_LOGGING_SHOW_TIMESTAMPS": text}):
        assert load().logging.show_timestamps is value


def test_the_case_of_a_choice_does_not_matter():
    with place("[lambda]\npackage_type = 'ZIP'", "logging.level = 'info'"):
        config = load({"logging.format": "JSON"})
        assert (config.lambda_.package_type, config.logging.format) == ("zip", "json")
        assert config.logging.level == "INFO"
    with place(variables={"LOKKI_LOG_LEVEL": "debug"}):
        assert load().logging.level == "DEBUG"
        assert load({"logging.level": "Warning"}).logging.level == "WARNING"


def test_arguments_that_are_not_given_change_nothing():
    with place(here="[local]\nconcurrency = 3"):
        config = load({"local.concurrency": None, "logging.level": None})
    assert (config.local.concurrency, config.logging.level) == (3, "INFO")


@pytest.mark.parametrize("variable", [variable for variable, _ in PROMISED.values()])
def test_an_empty_variable_is_none_but_where_a_key_may_be_empty(variable):
    here = as_toml({key: _other(key) for key in PROMISED})
    with place(here=here):
        without = load()
    with place(here=here, variables={variable: ""}):
        config = load()
    if variable in ("LOKKI_ECR_REPO_PREFIX", "LOKKI_LAMBDA_INCLUDE", "LOKKI_SERVER_FLOWS"):
        (key,) = (key for key, (name, _) in PROMISED.items() if name == variable)
        assert (without.values()[key], config.values()[key]) == ("other", "")
    else:
        assert (config, config.origins) == (without, without.origins)


def test_an_empty_text_sets_a_key_back_to_none():
    keys = [key for key, (_, default) in PROMISED.items() if default is None]
    with place(as_toml({key: _other(key) for key in keys}), as_toml(dict.fromkeys(keys, ""))):
        config = load()
    assert {key: config.values()[key] for key in keys} == dict.fromkeys(keys)
    assert {config.origins[key] for key in keys} == {HERE_FILE}


def test_files_may_be_missing_and_may_begin_with_a_byte_order_mark():
    with place() as folder:
        (folder.parent / "home" / ".lokki").rmdir()
        assert load() == Config()
        (folder.parent / "home" / ".lokki").write_text("a file")
        assert load() == Config()
    with place(here=b"\xef\xbb\xbf" + b'build_dir = "x"'):
        assert load().build_dir == "x"


def test_without_a_home_directory_there_is_no_file_of_ones_own(monkeypatch):
    def unknown(user: int) -> None:
        raise KeyError(user)

    with place(here='build_dir = "x"') as folder:
        (folder / "~" / ".lokki").mkdir(parents=True)
        (folder / "~" / ".lokki" / "lokki.toml").write_text("not toml")
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(pwd, "getpwuid", unknown)
        assert load().build_dir == "x"
        monkeypatch.undo()


# ---- paths --------------------------------------------------------------------------------------


def test_the_journal_is_in_the_home_directory_and_large_results_are_beside_it():
    with place(variables={"LOKKI_LOCAL_JOURNAL": "", "LOKKI_LOCAL_PAYLOADS": ""}) as folder:
        config, own = load(), folder.parent / "home" / ".lokki"
        assert journal_path(config) == own / "lokki.db"
        assert payloads_path(journal_path(config), config) == own / "payloads"


def test_xdg_variables_name_other_folders_unless_there_is_a_journal_already(monkeypatch, tmp_path):
    for variable, name in (("XDG_STATE_HOME", "state"), ("XDG_CONFIG_HOME", "settings")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", "")
    file = tmp_path / "settings" / "lokki" / "lokki.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[local]\nprocesses = 3\nconcurrency = 5\n")
    with place(home="[local]\nconcurrency = 7\nworker_calls = 9\n") as folder:
        config, journal = load(), tmp_path / "state" / "lokki" / "lokki.db"
        assert journal_path(config) == journal
        assert payloads_path(journal, config) == journal.parent / "payloads"
        assert config.origins["local.journal"] == "XDG_STATE_HOME"
        local = config.local
        assert (local.processes, local.concurrency, local.worker_calls) == (3, 5, 9)
        assert config.origins["local.concurrency"] == str(file)
        used = folder.parent / "home" / ".lokki" / "lokki.db"
        used.touch()
        assert journal_path(load()) == used
        used.unlink()
        monkeypatch.setenv("XDG_STATE_HOME", "relative")  # which the specification has ignored
        assert journal_path(load()) == used


@pytest.mark.parametrize("source", ["home", "here", "variables"])
def test_relative_paths_are_in_the_working_directory(source):
    text = '[local]\njournal = "runs/x.db"\npayloads = "~/large"'
    given = {"LOKKI_LOCAL_JOURNAL": "runs/x.db", "LOKKI_LOCAL_PAYLOADS": "~/large"}
    with place(**{source: given if source == "variables" else text}) as folder:
        config = load()
        assert journal_path(config).absolute() == folder / "runs" / "x.db"
        assert payloads_path(journal_path(config), config) == folder.parent / "home" / "large"


@pytest.mark.parametrize("key", ["journal", "payloads"])
def test_a_home_directory_that_nobody_knows_is_reported_with_its_source(key):
    with place(here=f'[local]\n{key} = "~no-such-user/x"'):
        config = load()
        with pytest.raises(JournalError) as caught:
            payloads_path(journal_path(config), config)
    assert str(caught.value) == (
        f"local.{key} (./lokki.toml): the home directory in '~no-such-user/x' is unknown; "
        "write the path without '~'"
    )


# ---- what is told of mistakes -------------------------------------------------------------------

LEVELS = "must be DEBUG, INFO, WARNING or ERROR"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[logging]\nlevle = 1", "unknown key 'logging.levle'; did you mean 'logging.level'?"),
        ("[batch]\ncpu = 1", "unknown key 'batch.cpu'; did you mean 'batch.vcpu'?"),
        ("buildir = 1", "unknown key 'buildir'; did you mean 'build_dir'?"),
        ("journal = 1", "unknown key 'journal'; did you mean 'local.journal'?"),
        ("[lamda]\ntimeout = 1", "unknown key 'lamda'; did you mean 'lambda'?"),
        ("[lambda_]\ntimeout = 1", "unknown key 'lambda_'; did you mean 'lambda'?"),
        ("[aws.role]\nlambda = 1", "unknown key 'aws.role'; did you mean 'aws.roles'?"),
        ('"logging.level" = 1', "unknown key ''logging.level''; did you mean 'logging.level'?"),
        ("x = 1", "unknown key 'x'; known keys: build_dir, limits, aws, batch, dashboard, lambda, "
         "local, logging, notify, server"),
        ("[batch]\ntimeout = 1", "unknown key 'batch.timeout'; did you mean "
         "'batch.timeout_seconds'?"),
        ("lamda = 1", "unknown key 'lamda'; did you mean 'lambda'?"),
        ("[lambda]\nregio = 1", "unknown key 'lambda.regio'; did you mean 'aws.region'?"),
        ("[aws.roles]\nx = 1", "unknown key 'aws.roles.x'; known keys: aws.roles.pipeline, "
         "aws.roles.lambda"),
        ("logging = 5", "key 'logging' must be a table, not 5: write [logging] and its keys below"),
        ("[[local]]", "key 'local' must be a table, not a list: write [local] and its keys below"),
        ("[logging.level]\nx = 1", f"key 'logging.level' {LEVELS}, not a table"),
        ("logging.level = 'debg'", f"key 'logging.level' {LEVELS}, not 'debg'"),
        ("logging.level = ['INFO']", f"key 'logging.level' {LEVELS}, not a list"),
        ("lambda.package_type = ''", "key 'lambda.package_type' must be image or zip, not ''"),
        ("lambda.timeout = '9'", "key 'lambda.timeout' must be a whole number from 1 to 900, "
         "not '9'"),
        ("lambda.timeout = 901", "key 'lambda.timeout' must be a whole number from 1 to 900, "
         "not 901"),
        ("batch.vcpu = 0", "key 'batch.vcpu' must be a whole number from 1, not 0"),
        ("batch.vcpu = true", "key 'batch.vcpu' must be a whole number from 1, not True"),
        ("batch.vcpu = 2.0", "key 'batch.vcpu' must be a whole number from 1, not 2.0"),
        ("batch.vcpu = nan", "key 'batch.vcpu' must be a whole number from 1, not nan"),
        ("logging.show_timestamps = 1", "key 'logging.show_timestamps' must be true or false, "
         "not 1"),
        ("[aws.statements]\nx = 1", "key 'aws.statements' must be tables below [[aws.statements]], "
         "not a table"),
        ("aws.statements = [1]", "key 'aws.statements' must be tables below [[aws.statements]], "
         "not a list"),
        ("build_dir = ''", "key 'build_dir' must not be empty"),
        ("build_dir = 2026-01-01", "key 'build_dir' must be a text, not "
         "datetime.date(2026, 1, 1)"),
        ('local.journal = "a\\u0000"', "key 'local.journal' must be a text, not 'a\\x00'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_reported(text, message):
    with place(home=text):
        assert told() == [f"{HOME_FILE}: {message}"]
    with place(here=text):
        assert told() == [f"{HERE_FILE}: {message}"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[logging\n", "the file is not TOML: .*at line 1"),
        (b"a = 1\na = 2\n", "the file is not TOML: .*at line 2"),
        (b"build_dir = '\xff'", "the file is not UTF-8 .byte 13.: save it as UTF-8"),
        (b"a = " + b"[" * 9999, "the file is not TOML: "),
    ],
)
def test_a_file_that_is_not_toml_is_reported(content, message):
    with place(here=content):
        (line,) = told()
    assert re.match(rf"\./lokki\.toml: {message}", line)


def test_a_file_that_cannot_be_read_is_reported():
    with place() as folder:
        (folder / "lokki.toml").mkdir()
        assert told() == [f"{HERE_FILE}: the file cannot be read: Is a directory"]


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("LOKKI_LOG_LEVEL", "debg", f"key 'logging.level' {LEVELS}, not 'debg'"),
        ("LOKKI_LOCAL_CONCURRENCY", "many", "key 'local.concurrency' must be a whole number from "
         "1, not 'many'"),
        ("LOKKI_LOCAL_PROCESSES", "0", "key 'local.processes' must be a whole number from 1, "
         "not 0"),
        ("LOKKI_LOCAL_PROCESSES", "\udcff", "key 'local.processes' must be a whole number from 1, "
         "not '\\udcff'"),
        ("LOKKI_LOGGING_SHOW_TIMESTAMPS", "maybe", "key 'logging.show_timestamps' must be true or "
         "false, not 'maybe'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_variable_is_reported(variable, text, message):
    with place(variables={variable: text}):
        assert told() == [f"{variable}: {message}"]


@pytest.mark.parametrize(("key", "option"), OPTIONS.items())
def test_a_mistake_in_an_argument_is_reported_with_its_option(key, option):
    with place():
        (line,) = told({key: "x"})
        assert re.fullmatch(rf"{option}: key '{key}' must be .*, not 'x'", line)
        assert told({"batch.vcpu": "x"})[0].startswith("argument: key 'batch.vcpu' must be")
        assert told({"local.jornal": "x"}) == [
            "argument: unknown key 'local.jornal'; did you mean 'local.journal'?"
        ]


def test_every_mistake_is_reported_at_once():
    with place(b"\xff", "x = 1\nbuild_dir = 1", {"LOKKI_LOG_LEVEL": "x", "LOKKI_BATCH_VCPU": "x"}):
        lines = told({"local.processes": "x", "local.concurrency": 0})
    sources = [HOME_FILE, HERE_FILE, HERE_FILE, "LOKKI_BATCH_VCPU", "LOKKI_LOG_LEVEL"]
    assert [line.partition(":")[0] for line in lines] == [*sources, "--processes", "--concurrency"]


SECRET = "s3cret"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f'[lambda]\nenv = "{SECRET}"', "lambda.env"),
        (f'[batch]\nenv = ["{SECRET}"]', "batch.env"),
        (f'[[lambda.env]]\nTOKEN = "{SECRET}"', "lambda.env"),
        (f'[[lambda]]\nenv.TOKEN = "{SECRET}"', "lambda"),
        (f'[lambda.env]\nTOKEN = ["{SECRET}"]', "TOKEN"),
        (f'[lambda.env]\nTOKEN.value = "{SECRET}"', "TOKEN"),
        (f'[lamda.env]\nTOKEN = "{SECRET}"', "lamda"),
        (f'[lambda.environment]\nTOKEN = "{SECRET}"', "lambda.environment"),
        (f'[lambda]\nTOKEN = "{SECRET}"', "lambda.TOKEN"),
        (f'[lambda.env]\nTOKEN = "{SECRET}\n', "line 2"),
        (f"[lambda.env]\nTOKEN = {SECRET}", "line 2"),
        (f'[lambda.env]\nTOKEN = "{SECRET}"\nTOKEN = "{SECRET}"\n', "line 3"),
    ],
)
def test_no_mistake_tells_a_secret(text, named):
    with place(here=text):
        (line,) = told()
    assert SECRET not in line
    assert line.startswith(f"{HERE_FILE}: ")
    assert named in line


@pytest.mark.parametrize("text", [f'{{"A": {SECRET}', "[" * 99_999, "5"])
def test_a_secret_that_is_not_a_text_is_not_reported(text):
    here = '[lambda.env]\nA = 20261231\nB = "b"\nC = 1.5'
    with place(here=here, variables={"LOKKI_BATCH_ENV": text}):
        lines = told()
    hidden = "(what is there may be secret and is not shown)"
    assert lines == [
        f"{HERE_FILE}: key 'lambda.env' must be a table of texts: write A, C in quotes {hidden}",
        "LOKKI_BATCH_ENV: key 'batch.env' must be a table of texts: "
        f'write {{"NAME": "text"}} {hidden}',
    ]


def test_what_a_limit_can_be_is_reported():
    with place(here="[limits]\ngpu = 1.5"):
        (line,) = told()
    assert "write gpu as a whole number, or in quotes" in line


def test_the_representation_of_a_configuration_has_no_secret():
    with place(here=f'[lambda.env]\nA = "{SECRET}"\n[batch.env]\nA = "{SECRET}"'):
        config = load()
    assert config.batch.env == {"A": SECRET}
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("LOKKI_LOGING_LEVEL", "did you mean LOKKI_LOGGING_LEVEL?"),
        ("LOKKI_LOGLEVEL", "did you mean LOKKI_LOG_LEVEL?"),
        ("LOKKI_BATCH_JOBQUEUE", "did you mean LOKKI_BATCH_JOB_QUEUE?"),
        ("LOKKI_PORT", "did you mean LOKKI_SERVER_PORT?"),
        ("LOKKI_JOURNAL", "did you mean LOKKI_LOCAL_JOURNAL?"),
        ("LOKKI_SERVER_TOKN", "did you mean LOKKI_SERVER_TOKEN?"),
        ("LOKKI_SECRETS_TOKEN", "did you mean LOKKI_SECRET_TOKEN?"),
        ("LOKKI_SECRET", "did you mean LOKKI_SECRET_<NAME>?"),
        ("LOKKI_XYZ", "LOKKI_<SECTION>_<KEY> sets a key, and `lokki config` lists the keys"),
    ],
)
def test_an_unknown_variable_is_reported_with_what_was_meant(variable, meant):
    with place(variables={variable: SECRET}):
        assert unknown_variables() == [f"the variable {variable} is unknown; {meant}"]
        assert load() == Config()


def test_variables_that_are_known_or_empty_are_no_mistake():
    known = [name for key in KEYS.values() for name in key.variables]
    ours = ["LOKKI_SERVER_TOKEN", "LOKKI_SECRET_TOKEN", event.STEP, event.MODULE, event.BUCKET]
    names = [*known, *ours, event.EVENT, event.REDRIVEN, "LOKKIX", "lokki_port"]
    with place(variables={**dict.fromkeys(names, "1"), "LOKKI_NONE": ""}):
        assert unknown_variables() == []


@pytest.mark.parametrize("command", [["runs"], ["gc", "--keep", "1"], ["run", BIRDS], ["config"]])
def test_commands_tell_an_unknown_variable_once_on_stderr(command):
    told = "the variable LOKKI_LOGING_LEVEL is unknown; did you mean LOKKI_LOGGING_LEVEL?"
    with place(variables={"LOKKI_LOGING_LEVEL": SECRET}):
        done = lokki(*command)
    assert done.returncode == 0
    assert done.stderr.startswith(f"[WARNING] {told}\n")
    assert done.stderr.count("LOKKI_") == 2
    assert "LOKKI_" not in done.stdout
    assert SECRET not in done.stderr


def test_an_unknown_variable_is_reported_as_log_lines_are():
    with place(variables={"LOKKI_XYZ": "1"}):
        quiet = lokki("run", BIRDS, "--log-level", "error")
        lines = lokki("run", BIRDS, "--log-format", "json").stderr.splitlines()
    assert quiet.stderr == ""
    events = [json.loads(line)["event"] for line in lines]
    assert events[0] == "variable_unknown"
    assert events.count("variable_unknown") == 1


def test_an_engine_warns_of_an_unknown_variable():
    with place(variables={"LOKKI_LOCAL_JORNAL": "x"}):
        with pytest.warns(UserWarning, match="did you mean LOKKI_LOCAL_JOURNAL"):
            Engine()
        Engine(config=load())


# ---- the documentation --------------------------------------------------------------------------


def test_the_documentation_has_the_reference_and_nothing_else():
    documented = DOCS.partition("## Reference\n\n")[2]
    assert documented == reference()
    rows = [row.split(" | ") for row in documented.splitlines()[2:]]
    assert [row[0].strip("| `") for row in rows] == list(PROMISED)
    for row, (key, (variable, default)) in zip(rows, PROMISED.items(), strict=True):
        assert row[2] == ("none" if default is None else f"`{json.dumps(default)}`")
        assert row[3] == f"`{variable}`" + (f", `{ALL_OPTIONS[key]}`" if key in ALL_OPTIONS else "")
        assert row[1]
        assert row[4].strip(" |")


def _documented(command: str) -> str:
    shown = re.search(rf"```text\n\$ {command}\n(.*?)```", DOCS, re.DOTALL)
    assert shown is not None
    return shown[1]


@pytest.fixture
def example() -> str:
    found = re.search(r"```toml\n(# lokki\.toml\n.*?)```", DOCS, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_of_the_documentation_is_as_it_shows(example):
    with place(here=example):
        config = load()
        assert config.aws.region == "eu-central-1"
        assert set(config.origins.values()) == {"default", HERE_FILE}
        done = lokki("config")
    assert (done.returncode, done.stdout, done.stderr) == (0, _documented("lokki config"), "")


def test_the_unknown_variable_of_the_documentation_is_reported_as_it_shows():
    variable = "LOKKI_LOCAL_CONCURENCY"
    with place(variables={variable: "8"}):
        done = lokki("runs")
    assert done.returncode == 0
    assert done.stderr.startswith(_documented(f"{variable}=8 lokki runs"))


def test_the_mistakes_of_the_documentation_are_reported_as_it_shows():
    wrong = '[logging]\nlevle = "DEBUG"\n[lambda]\ntimeout = 1000\n'
    with place(here=wrong, variables={"LOKKI_LOCAL_CONCURRENCY": "many"}):
        done = lokki("runs")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", _documented("lokki runs"))


# ---- the commands -------------------------------------------------------------------------------


def lokki(*arguments: object) -> subprocess.CompletedProcess[str]:
    return _process(Path(sys.executable).with_name("lokki"), *arguments)


def _process(*words: object) -> subprocess.CompletedProcess[str]:
    return forking.done([*map(str, words)])


def test_config_shows_values_and_where_they_came_from():
    variables = {"LOKKI_BUILD_DIR": "grün", "LOKKI_LOCAL_JOURNAL": "j" * 60}
    home = f'[lambda.env]\nA = "{SECRET}"\nB = "{SECRET}"'
    here = f'[lambda.env]\nB = "{SECRET}"\n[logging]\nshow_timestamps = false'
    with place(home, here, variables):
        done = lokki("config")
        own = _process(BIRDS, "config")
    assert done.returncode == 0
    assert own.stdout == done.stdout
    assert SECRET not in done.stdout
    lines = [re.split(r" {2,}", line) for line in done.stdout.splitlines()]
    assert lines[0] == ["key", "value", "from"]
    for line in (
        ["build_dir", '"grün"', "LOKKI_BUILD_DIR"],
        ["aws.region", "default"],
        ["lambda.timeout", "900", "default"],
        ["lambda.env.A", "***", HOME_FILE],
        ["lambda.env.B", "***", HERE_FILE],
        ["batch.env", "{}", "default"],
        ["logging.show_timestamps", "false", HERE_FILE],
        ["local.journal", f'"{"j" * 60}"', "LOKKI_LOCAL_JOURNAL"],
    ):
        assert line in lines
    assert len(lines) == 1 + len(PROMISED) + 1


def test_config_as_json():
    here = f'[aws]\nregion = "x"\n[lambda.env]\nA = "{SECRET}"'
    with place(here=here, variables={"LOKKI_LAMBDA_ENV": f'{{"B": "{SECRET}"}}'}):
        done = lokki("config", "--json")
    shown = json.loads(done.stdout)
    assert SECRET not in done.stdout
    assert list(shown) == list(PROMISED)
    assert shown["aws.region"] == {"value": "x", "from": HERE_FILE}
    assert shown["aws.endpoint"] == {"value": None, "from": "default"}
    assert shown["lambda.timeout"] == {"value": 900, "from": "default"}
    assert shown["lambda.env"] == {
        "value": {"A": "***", "B": "***"},
        "from": {"A": HERE_FILE, "B": "LOKKI_LAMBDA_ENV"},
    }
    assert shown["batch.env"] == {"value": {}, "from": {}}


def test_config_shows_a_path_that_is_not_utf8():
    with place(variables={"LOKKI_LOCAL_PAYLOADS": "/x/\udcff"}):
        done = lokki("config")
    assert done.returncode == 0, done.stderr
    assert "/x/\\udcff" in done.stdout


COMMANDS = [
    ["run"], ["runs"], ["show"], ["show", "last"], ["logs", "last"], ["resume", "last"],
    ["cancel", "last"], ["pause", "last"],
    ["unpause", "last"], ["tune", "last", "--concurrency", "1"], ["gc", "--keep", "1"], ["config"],
    ["config", "--json"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_tells_a_broken_file_and_exits_2(command):
    target = [BIRDS] if command == ["run"] else []
    with place(here="[local]\njournal = 5") as folder:
        general = lokki(*command, *target)
        own = _process(BIRDS, *command)
        assert [path.name for path in folder.iterdir()] == ["lokki.toml"]
    for done in (general, own):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "Error: ./lokki.toml: key 'local.journal' must be a text, not 5\n"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["config", "--help"]])
def test_a_broken_file_does_not_stop_the_help(arguments):
    with place(here="[local]\njournal = 5"):
        done = lokki(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: lokki" in done.stdout


def test_options_win_and_are_reported_when_wrong():
    with place(here='[logging]\nlevel = "ERROR"'):
        quiet, loud = lokki("run", BIRDS), lokki("run", BIRDS, "--log-level", "INFO")
        wrong = lokki("run", BIRDS, "--log-level", "loud", "--concurrency", "0")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert "Step 'get_birds' completed" in loud.stderr
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert f"--log-level: key 'logging.level' {LEVELS}, not 'loud'" in wrong.stderr
    assert "--concurrency: key 'local.concurrency' must be a whole number" in wrong.stderr


def test_a_deployment_ends_the_name_of_a_flow():
    assert load({}).aws.deployed_name("birds") == "birds"
    assert load({"aws.deployment": "test2"}).aws.deployed_name("birds") == "birds-test2"
    for wrong in ("a-b", "a b", "a" * 20, "ü"):
        with pytest.raises(ConfigError, match="use 1 to 19 letters and digits"):
            load({"aws.deployment": wrong}).aws.deployed_name("birds")


def test_options_of_run_are_those_of_the_schema():
    assert {key: each.option for key, each in KEYS.items() if each.option} == ALL_OPTIONS
    with place():
        shown = " ".join(lokki("run", BIRDS, "--help").stdout.split())
    for key, option in OPTIONS.items():
        value = "INT" if key.startswith("local.") else r"(DEBUG\|INFO\|WARNING\|ERROR|human\|json)"
        assert re.search(rf"{option} {value} [^-]*configured as {re.escape(key)}\.", shown)
    assert not any(f" {option} " in shown for option in DEPLOY_OPTIONS.values())


def test_options_of_deploy_are_those_of_the_schema():
    with place():
        shown = " ".join(lokki("deploy", BIRDS, "--help").stdout.split())
    for key, option in DEPLOY_OPTIONS.items():
        assert re.search(rf"{option} STR [^-]*configured as {re.escape(key)}\.", shown)
