"""A key of one's own in KMS for what a flow stores. Pure.

S3 and SQS use it with the permissions of whoever reads and writes, CloudWatch Logs and EventBridge
by the policy of the key
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html).
"""

from __future__ import annotations

import re

from lokki.builder.resources import Statement
from lokki.config import Config
from lokki.errors import ConfigError

_KEY = re.compile(r"arn:[\w-]+:kms:[a-z0-9-]+:\d{12}:key/[\w-]+")


def kms_key(config: Config) -> str | None:
    """The ARN of the configured key. Raises ConfigError for anything else."""
    key = config.aws.kms_key
    if key is not None and not _KEY.fullmatch(key):
        raise ConfigError(
            f"aws.kms_key: '{key}' is not the ARN of a key: write it as "
            "arn:aws:kms:<region>:<account>:key/<id>; CloudWatch Logs takes no alias"
        )
    return key


def key_statements(config: Config) -> list[Statement]:
    """To read and write what is encrypted with the key.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    """
    key = kms_key(config)
    if key is None:
        return []
    return [Statement(action=("kms:Decrypt", "kms:GenerateDataKey"), resource=(key,))]
