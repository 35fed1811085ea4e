"""The bucket of a flow's results and packages."""

from __future__ import annotations

from typing import Any

from lokki.aws.account import Account, Identity
from lokki.config import Config
from lokki.errors import AwsError, ConfigError
from lokki.store.keys import check_part

DAYS = 90
"""How long a bucket that lokki made keeps the results of runs."""
_NO_LOCATION = "us-east-1"
"""The region whose buckets are made without a location."""
_ABORT_DAYS = 7
_GONE = ("404", "NoSuchBucket", "NotFound")
_ELSEWHERE = ("301", "PermanentRedirect", "403", "AccessDenied")


def bucket_of(config: Config) -> str:
    """The configured bucket. Raises ConfigError if there is none."""
    if config.aws.artifact_bucket is None:
        raise ConfigError(
            "there is no bucket for results and packages: set aws.artifact_bucket in lokki.toml, "
            "or LOKKI_ARTIFACT_BUCKET; lokki makes it if it does not exist"
        )
    return config.aws.artifact_bucket


async def ensure_bucket(
    account: Account, bucket: str, flow: str, who: Identity, key: str | None = None
) -> str:
    """Make the bucket of a flow if it does not exist; what there is to say, or empty.

    A new bucket is encrypted, with the ``key`` of KMS if there is one, and not public, and the
    results of the flow's runs are deleted there after 90 days; in any other bucket, nothing is ever
    deleted. Raises AwsError for a bucket of another account or region.
    """
    if not await exists(account, bucket, who):
        await _make(account, bucket, who.region, key)
        await _expire(account, bucket, [_rule(flow)])
        return f"made bucket {bucket}: encrypted, not public; results are deleted after {DAYS} days"
    rules = await _rules(account, bucket)
    if any(map(_is_ours, rules)) and _rule(flow)["ID"] not in [rule.get("ID") for rule in rules]:
        await _expire(account, bucket, [*rules, _rule(flow)])
    if key is not None and await _key_of(account, bucket) != key:
        return (
            f"Note: bucket {bucket} exists, and its default encryption is not aws.kms_key: results "
            "are encrypted as the bucket says"
        )
    return ""


async def _key_of(account: Account, bucket: str) -> str | None:
    """The key with which a bucket encrypts by default."""
    try:
        found = await account.ask("s3", "get_bucket_encryption", Bucket=bucket)
    except AwsError as error:
        if error.code == "ServerSideEncryptionConfigurationNotFoundError":
            return None
        raise
    (rule, *_) = found["ServerSideEncryptionConfiguration"]["Rules"]
    key: str | None = rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID")
    return key


async def exists(account: Account, bucket: str, who: Identity) -> bool:
    """Whether the bucket exists. Raises AwsError for one of another account or region."""
    try:
        found = await account.ask("s3", "head_bucket", Bucket=bucket)
    except AwsError as error:
        if error.code in _GONE:
            return False
        if error.code not in _ELSEWHERE:
            raise
        raise AwsError(
            f"bucket '{bucket}' belongs to another account, or is in another region than "
            f"{who.region}, or {who.arn} may not see it (s3:ListBucket): set "
            "aws.artifact_bucket to one of yours",
            error.code,
        ) from error
    region = found.get("BucketRegion", who.region)
    if region != who.region:
        raise AwsError(
            f"bucket '{bucket}' is in {region}, but the stack in {who.region}: set "
            f"aws.region to {region}, or aws.artifact_bucket to another bucket"
        )
    return True


async def remove_if_empty(account: Account, bucket: str) -> bool:
    """Delete an empty bucket that lokki made; whether it was deleted."""
    rules = await _rules(account, bucket)
    if not any(map(_is_ours, rules)):
        return False
    found = await account.ask("s3", "list_objects_v2", Bucket=bucket, MaxKeys=1)
    if found.get("KeyCount"):
        return False
    await account.ask("s3", "delete_bucket", Bucket=bucket)
    return True


async def _make(account: Account, bucket: str, region: str, key: str | None) -> None:
    where = {} if region == _NO_LOCATION else {
        "CreateBucketConfiguration": {"LocationConstraint": region}
    }  # fmt: skip
    await account.ask("s3", "create_bucket", Bucket=bucket, **where)
    blocked = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    await account.ask(
        "s3",
        "put_public_access_block",
        Bucket=bucket,
        PublicAccessBlockConfiguration=dict.fromkeys(blocked, True),
    )
    encrypted: dict[str, Any] = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    if key is not None:  # a key of the bucket saves most requests to KMS
        by_key = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
        encrypted = {"ApplyServerSideEncryptionByDefault": by_key, "BucketKeyEnabled": True}
    await account.ask(
        "s3",
        "put_bucket_encryption",
        Bucket=bucket,
        ServerSideEncryptionConfiguration={"Rules": [encrypted]},
    )


def _rule(flow: str) -> dict[str, Any]:
    """The rule that deletes old results of a flow, and parts of incomplete uploads."""
    return {
        "ID": f"lokki-{check_part(flow, 'flow name')}-runs",
        "Status": "Enabled",
        "Filter": {"Prefix": f"{flow}/runs/"},
        "Expiration": {"Days": DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _ABORT_DAYS},
    }


def _is_ours(rule: Any) -> bool:
    """Whether lokki made a rule, and so its bucket."""
    flow = rule.get("ID", "").removeprefix("lokki-").removesuffix("-runs")
    return (
        bool(flow)
        and rule.get("ID") == f"lokki-{flow}-runs"
        and (rule.get("Filter", {}).get("Prefix") == f"{flow}/runs/")
    )


async def _expire(account: Account, bucket: str, rules: list[Any]) -> None:
    await account.ask(
        "s3",
        "put_bucket_lifecycle_configuration",
        Bucket=bucket,
        LifecycleConfiguration={"Rules": rules},
    )


async def _rules(account: Account, bucket: str) -> list[Any]:
    try:
        found = await account.ask("s3", "get_bucket_lifecycle_configuration", Bucket=bucket)
    except AwsError as error:
        if error.code in ("NoSuchLifecycleConfiguration", "AccessDenied"):
            return []
        raise
    return list(found["Rules"])
