"""Builds the image of a flow with Docker, and pushes it to ECR."""

from __future__ import annotations

import base64
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import anyio

from lokki.aws.account import Account
from lokki.aws.stack import Tell
from lokki.builder.image_pkg import image_uri
from lokki.config import DEFAULT, Config
from lokki.errors import AwsError, BuildError, ConfigError

_TAG = "lambda.image_tag"
_ECR = (
    "If ECR has denied it, ask for the permissions of "
    "https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html"
)
_PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
_NO_ATTESTATIONS = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
"""Lambda accepts no image with attestations
(https://docs.aws.amazon.com/lambda/latest/dg/python-image.html)."""


def is_pushed(config: Config) -> bool:
    """Whether an image must be pushed: to an account, not to an emulator.

    Raises ConfigError if there is no registry to push to.
    """
    if config.aws.endpoint:
        return False
    if not config.aws.ecr_repo_prefix:
        raise ConfigError(
            "the flow needs an image, but there is no registry to push it to: set "
            "aws.ecr_repo_prefix to <account>.dkr.ecr.<region>.amazonaws.com/<any prefix>, or "
            'lambda.package_type to "zip" if no step is a Batch job'
        )
    return True


def docker_command() -> str:
    """The path of Docker's command. Raises BuildError if it is missing."""
    found = shutil.which("docker")
    if found is None:
        raise BuildError(
            "the flow needs an image, but Docker is not installed: install it "
            '(https://docs.docker.com/get-docker), or set lambda.package_type to "zip"'
        )
    return found


async def push(
    account: Account, config: Config, folder: Path, digest: str, tell: Tell, *, force: bool
) -> dict[str, str]:
    """Build the image in ``folder`` and push it, unless it exists; the stack's parameters.

    Its tag is the ``digest`` of its content, unless one is configured: functions are updated when
    the tag changes. Raises BuildError or AwsError.
    """
    is_chosen = config.origins.get(_TAG, DEFAULT) != DEFAULT
    tag = config.lambda_.image_tag if is_chosen else digest
    uri = image_uri(replace(config, lambda_=replace(config.lambda_, image_tag=tag)))
    registry, _, path = uri.partition("/")
    repository = path.rpartition(":")[0]
    parameters = {"ECRRepoPrefix": config.aws.ecr_repo_prefix or "", "ImageTag": tag}
    if await _ensure_repository(account, repository):
        tell(f"made the repository {repository}")
    elif tag == digest and not force and await _is_there(account, repository, tag):
        tell(f"{uri} already exists")
        return parameters
    tell(f"logging in to {registry}")
    await _run(
        "login", "--username", "AWS", "--password-stdin", registry, given=await _token(account)
    )
    tell(f"building {uri}")
    platform = _PLATFORMS[config.lambda_.architecture]
    await _run("build", "--platform", platform, "--tag", uri, str(folder))
    tell(f"pushing {uri}")
    await _run("push", uri)
    return parameters


async def _ensure_repository(account: Account, name: str) -> bool:
    """Make the repository unless it exists; whether it was made."""
    try:
        await account.ask("ecr", "describe_repositories", repositoryNames=[name])
    except AwsError as error:
        if error.code != "RepositoryNotFoundException":
            raise
        await account.ask(
            "ecr",
            "create_repository",
            repositoryName=name,
            imageScanningConfiguration={"scanOnPush": True},
        )
        return True
    return False


async def _is_there(account: Account, repository: str, tag: str) -> bool:
    try:
        await account.ask(
            "ecr", "describe_images", repositoryName=repository, imageIds=[{"imageTag": tag}]
        )
    except AwsError as error:
        if error.code == "ImageNotFoundException":
            return False
        raise
    return True


async def _token(account: Account) -> bytes:
    """The password of the registry, valid for some hours."""
    answer = await account.ask("ecr", "get_authorization_token")
    token = base64.b64decode(answer["authorizationData"][0]["authorizationToken"])
    return token.partition(b":")[2]


async def _run(*arguments: str, given: bytes | None = None) -> None:
    """Run Docker, whose output is shown. Raises BuildError when it fails."""
    done = await anyio.run_process(
        [docker_command(), *arguments],
        input=given,
        stdout=sys.stderr,
        stderr=sys.stderr,
        check=False,
        env=os.environ | _NO_ATTESTATIONS,
    )
    if done.returncode:
        why = "is Docker running, and may you use it?"
        if arguments[0] in ("login", "push"):
            why += f" {_ECR}"
        raise BuildError(f"`docker {arguments[0]}` failed, see its output above: {why}")
