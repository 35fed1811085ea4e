"""Builds the image of a flow with Docker, and pushes it to ECR."""

from __future__ import annotations

import base64
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from lokki.aws.account import Account
from lokki.aws.stack import Tell
from lokki.builder.image_pkg import image_uri
from lokki.config import DEFAULT, Config
from lokki.errors import AwsError, BuildError, ConfigError

_TAG = "lambda.image_tag"
_MOST_OF_A_TAG = 115  # of its 128 characters
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

    Its tag is the ``digest`` of what it is made of, unless one is configured; the stack has a tag
    that no later push moves. Raises BuildError or AwsError.
    """
    is_chosen = config.origins.get(_TAG, DEFAULT) != DEFAULT
    tag = config.lambda_.image_tag if is_chosen else digest
    uri = image_uri(replace(config, lambda_=replace(config.lambda_, image_tag=tag)))
    registry, _, path = uri.partition("/")
    repository = path.rpartition(":")[0]
    if await _ensure_repository(account, repository):
        tell(f"made the repository {repository}")
    elif tag == digest and not force and (there := await _found(account, repository, tag)):
        tell(f"{uri} already exists")
        return _parameters(config, await _kept(account, repository, tag, there))
    tell(f"logging in to {registry}")
    await _run(
        "login", "--username", "AWS", "--password-stdin", registry, given=await _token(account)
    )
    tell(f"building {uri}")
    platform = _PLATFORMS[config.lambda_.architecture]
    await _run("build", "--platform", platform, "--tag", uri, str(folder))
    tell(f"pushing {uri}")
    await _run("push", uri)
    pushed = await _found(account, repository, tag)
    if pushed is None:
        raise AwsError(f"{uri} is not in ECR, though `docker push` has succeeded: deploy again")
    return _parameters(config, await _kept(account, repository, tag, pushed))


def _parameters(config: Config, tag: str) -> dict[str, str]:
    return {"ECRRepoPrefix": config.aws.ecr_repo_prefix or "", "ImageTag": tag}


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


async def _found(account: Account, repository: str, tag: str) -> Mapping[str, Any] | None:
    """What ECR says of the image that a tag names, if there is one."""
    try:
        answer = await account.ask(
            "ecr", "describe_images", repositoryName=repository, imageIds=[{"imageTag": tag}]
        )
    except AwsError as error:
        if error.code == "ImageNotFoundException":
            return None
        raise
    found: Mapping[str, Any] = answer["imageDetails"][0]
    return found


async def _kept(account: Account, repository: str, tag: str, image: Mapping[str, Any]) -> str:
    """Another tag of an image, which ends with its digest: another push does not move it.

    Lambda reads a tag when a function is updated
    (https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html), Batch for each job.
    Instead of a tag, Batch documents no digest
    (https://docs.aws.amazon.com/batch/latest/APIReference/API_ContainerProperties.html), and a
    lifecycle policy may delete images without a tag. A tag is added as in
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-retag.html.
    """
    kept = f"{tag[:_MOST_OF_A_TAG]}-{image['imageDigest'].removeprefix('sha256:')[:12]}"
    if kept not in image["imageTags"]:
        answer = await account.ask(
            "ecr", "batch_get_image", repositoryName=repository, imageIds=[{"imageTag": tag}]
        )
        await account.ask(
            "ecr",
            "put_image",
            repositoryName=repository,
            imageManifest=answer["images"][0]["imageManifest"],
            imageTag=kept,
        )
    return kept


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
