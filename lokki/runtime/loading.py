"""Loads the step that the environment names, with its flow's module and its store."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from lokki import output
from lokki.errors import ConfigError
from lokki.model import structure
from lokki.runtime.definition import definition, variable
from lokki.runtime.event import BUCKET, FLOW, MODULE, STEP, is_secret
from lokki.runtime.invocation import Invocation
from lokki.runtime.payloads import Payloads
from lokki.secret import in_environment
from lokki.store.s3 import S3Store


def loaded(flow: str, built: str) -> Invocation:
    """What to invoke: the step of this flow that ``LOKKI_STEP_NAME`` names.

    ``built`` is the flow's structure at its build, as JSON. The flow is in the module
    ``LOKKI_MODULE_NAME``; its results are in ``LOKKI_ARTIFACT_BUCKET``, below its deployed name,
    ``LOKKI_FLOW_NAME`` (by default the flow's own). Raises ConfigError for a missing variable or a
    module without the flow.
    """
    step, module, bucket = (variable(name) for name in (STEP, MODULE, BUCKET))
    if any(map(is_secret, os.environ.values())):
        asyncio.run(_read_secrets())
    output.mask(in_environment())
    found = definition(flow)
    payloads = Payloads(S3Store(bucket), os.environ.get(FLOW, flow))
    stages, code = structure.loaded(built), _code_of(module)
    return Invocation(found, stages, step, payloads, asyncio.Runner(), code)


async def _read_secrets() -> None:
    """Replace the ARNs of secrets in the environment with their values from Secrets Manager.

    Raises ConfigError, which names the variable, if one cannot be read.
    """
    arns = {name: value for name, value in os.environ.items() if is_secret(value)}
    async with get_session().create_client("secretsmanager") as opened:
        client: Any = opened
        for name, arn in arns.items():
            try:
                os.environ[name] = (await client.get_secret_value(SecretId=arn))["SecretString"]
            except (ClientError, BotoCoreError, KeyError) as error:
                raise ConfigError(f"{name}: the secret {arn} cannot be read: {error}") from None


def _code_of(module: str) -> str:
    """The file of a module, or the folder of its package."""
    top = sys.modules[module.partition(".")[0]]
    if hasattr(top, "__path__"):
        return os.path.join(next(iter(top.__path__)), "")
    return str(top.__file__)
