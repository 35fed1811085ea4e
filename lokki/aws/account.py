"""The only access to an AWS account: all requests go through it; refusals become AwsErrors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from lokki.config import Config
from lokki.errors import AwsError
from lokki.store.s3 import emulators_credentials

PAGE = 1_000
"""Executions, events or items per request."""
_TRIES = 6
"""How often a throttled request is tried, with growing waits (botocore's standard mode)."""
_TRIES_FOR_IDENTITY = 2
"""It is asked first, so that a missing network shows within seconds."""
_CONNECT_SECONDS = 5
_PREFIXES = {"stepfunctions": "states"}
"""Services whose permissions have another prefix."""
_ACTIONS = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
}
"""Operations whose permission has another name
(docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html)."""
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_UNKNOWN = {
    "InvalidClientTokenId", "InvalidAccessKeyId", "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}  # fmt: skip
_THROTTLED = {
    "Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded",
    "SlowDown",
}  # fmt: skip
_LOG_IN = "log in again, with `aws sso login` or `aws configure`, say"


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller: the account's number, the ARN of the user or role, the region."""

    account: str
    arn: str
    region: str

    @property
    def states(self) -> str:
        """The prefix of the ARNs of its Step Functions."""
        partition = self.arn.split(":")[1]
        return f"arn:{partition}:states:{self.region}:{self.account}"

    @property
    def name(self) -> str:
        """The account's name in messages."""
        return f"AWS account {self.account}, {self.region}"


class Account:
    """The configured AWS account, or an emulator at its ``endpoint``.

    Its methods raise AwsError.
    """

    def __init__(self, config: Config, session: AioSession, opened: AsyncExitStack) -> None:
        self.endpoint = config.aws.endpoint
        self._region = config.aws.region
        self._session = session
        self._opened = opened
        self._clients: dict[str, Any] = {}
        self._opening = anyio.Lock()

    async def ask(self, service: str, operation: str, **request: Any) -> Any:
        """The answer to a request, ``operation`` in snake_case."""
        with _translate_errors(service, operation):
            return await getattr(await self._client(service), operation)(**request)

    async def pages(
        self, service: str, operation: str, **request: Any
    ) -> AsyncGenerator[Any, None]:
        """The pages of answers to a request."""
        with _translate_errors(service, operation):
            pages = (await self._client(service)).get_paginator(operation)
            async for page in pages.paginate(**request):
                yield page

    async def identity(self) -> Identity:
        """Whose credentials these are."""
        answer = await self.ask("sts", "get_caller_identity")
        client = await self._client("sts")
        return Identity(answer["Account"], answer["Arn"], client.meta.region_name)

    async def _client(self, service: str) -> Any:
        tries = _TRIES_FOR_IDENTITY if service == "sts" else _TRIES
        async with self._opening:
            if service not in self._clients:
                self._clients[service] = await self._opened.enter_async_context(
                    self._session.create_client(
                        service,
                        region_name=self._region,
                        endpoint_url=self.endpoint,
                        config=AioConfig(
                            connect_timeout=_CONNECT_SECONDS,
                            retries={"mode": "standard", "total_max_attempts": tries},
                        ),
                        **await emulators_credentials(self._session, self.endpoint),
                    )
                )
        return self._clients[service]


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Account]:
    """The configured account; its connections are open as long as this context."""
    async with AsyncExitStack() as stack:
        yield Account(config, get_session(), stack)


@contextmanager
def _translate_errors(service: str, operation: str) -> Iterator[None]:
    """Raise refusals of AWS as AwsErrors that say why."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        raise AwsError(
            _refusal(error, code, permission_for(service, error.operation_name)), code
        ) from error
    except ResponseParserError as error:
        raise AwsError(
            f"{service}: the answer to {operation} is not from AWS: is aws.endpoint right?"
        ) from error
    except BotoCoreError as error:
        raise AwsError(_unasked(error), type(error).__name__) from error


def permission_for(service: str, operation: str) -> str:
    """The permission that an operation needs."""
    action = f"{_PREFIXES.get(service, service)}:{operation}"
    return _ACTIONS.get(action, action)


def _refusal(error: ClientError, code: str, action: str) -> str:
    message = error.response.get("Error", {}).get("Message", "")
    if code in _DENIED:
        return f"these credentials have no permission for {action}: ask for it ({message})"
    if code in _EXPIRED:
        return f"the AWS credentials have expired: {_LOG_IN}"
    if code in _UNKNOWN:
        return f"AWS does not know these credentials ({message}): {_LOG_IN}"
    if code in _THROTTLED:
        return f"AWS has throttled {action} {_TRIES} times ({message}): try again later"
    return f"{action}: {message or code}"


def _unasked(error: BotoCoreError) -> str:
    """What to do about a request that was not sent, or got no answer."""
    match error:
        case NoCredentialsError() | PartialCredentialsError():
            return (
                "there are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, or {_LOG_IN}"
            )
        case UnauthorizedSSOTokenError() | TokenRetrievalError():
            return f"the AWS credentials have expired: {_LOG_IN}"
        case NoRegionError():
            return "there is no AWS region: set aws.region or AWS_DEFAULT_REGION"
        case ProfileNotFound():
            return f"{error}: set AWS_PROFILE to one of ~/.aws/config"
        case EndpointConnectionError():
            return f"AWS cannot be reached: {error}"
    return str(error)
