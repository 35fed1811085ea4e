"""The bucket of a flow's results and packages."""

from __future__ import annotations

from typing import Any

from lokki.aws.account import Account, Identity
from lokki.config import Config
from lokki.errors import AwsError, ConfigError
from lokki.store.keys import check_part

DAYS = 90
"""How long the results of runs are kept in a bucket that lokki has made."""
_NO_LOCATION = "us-east-1"
"""The region whose buckets are made without saying where."""
_ABORT_DAYS = 7
_GONE = ("404", "NoSuchBucket", "NotFound")
_ELSEWHERE = ("301", "PermanentRedirect", "403", "AccessDenied")


def bucket_of(config: Config) -> str:
    """The configured bucket. Raises ConfigError when there is none."""
    if config.aws.artifact_bucket is None:
        raise ConfigError(
            "there is no bucket for results and packages: set aws.artifact_bucket in lokki.toml, "
            "or LOKKI_ARTIFACT_BUCKET; it is made if there is none of that name"
        )
    return config.aws.artifact_bucket


async def ensure_bucket(account: Account, bucket: str, flow: str, who: Identity) -> str:
    """Make the bucket of a flow if there is none; what was done, in words, or nothing.

    One that is made is encrypted and not public. In a bucket that lokki has made, the results of
    the flow's runs are deleted after 90 days; in any other, nothing ever is. Raises AwsError for
    a bucket of another account or region.
    """
    if not await exists(account, bucket, who):
        await _make(account, bucket, who.region)
        await _expire(account, bucket, [_rule(flow)])
        return f"made bucket {bucket}: encrypted, not public; results are deleted after {DAYS} days"
    rules = await _rules(account, bucket)
    if any(map(_is_ours, rules)) and _rule(flow)["ID"] not in [rule.get("ID") for rule in rules]:
        await _expire(account, bucket, [*rules, _rule(flow)])
    return ""


async def exists(account: Account, bucket: str, who: Identity) -> bool:
    """Whether there is such a bucket. Raises AwsError for one of another account or region."""
    try:
        found = await account.ask("s3", "head_bucket", Bucket=bucket)
    except AwsError as error:
        if error.code in _GONE:
            return False
        if error.code not in _ELSEWHERE:
            raise
        raise AwsError(
            f"bucket '{bucket}' is another account's or in another region than {who.region}, or "
            f"{who.arn} may not see it (s3:ListBucket): set aws.artifact_bucket to one of yours",
            error.code,
        ) from error
    region = found.get("BucketRegion", who.region)
    if region != who.region:
        raise AwsError(
            f"bucket '{bucket}' is in {region}, and the stack in {who.region}: set "
            f"aws.region to {region}, or aws.artifact_bucket to another bucket"
        )
    return True


async def remove_if_empty(account: Account, bucket: str) -> bool:
    """Delete a bucket that lokki has made and nothing is in any more; whether it is deleted."""
    rules = await _rules(account, bucket)
    if not any(map(_is_ours, rules)):
        return False
    found = await account.ask("s3", "list_objects_v2", Bucket=bucket, MaxKeys=1)
    if found.get("KeyCount"):
        return False
    await account.ask("s3", "delete_bucket", Bucket=bucket)
    return True


async def _make(account: Account, bucket: str, region: str) -> None:
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
    encrypted = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    await account.ask(
        "s3",
        "put_bucket_encryption",
        Bucket=bucket,
        ServerSideEncryptionConfiguration={"Rules": [encrypted]},
    )


def _rule(flow: str) -> dict[str, Any]:
    """What deletes old results of a flow, and parts of results that never were complete."""
    return {
        "ID": f"lokki-{check_part(flow, 'flow name')}-runs",
        "Status": "Enabled",
        "Filter": {"Prefix": f"{flow}/runs/"},
        "Expiration": {"Days": DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _ABORT_DAYS},
    }


def _is_ours(rule: Any) -> bool:
    """Whether lokki has made a rule, and so the bucket that has it."""
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
