"""Chooses the store of large results: beside the journal, or where the configuration says."""

from __future__ import annotations

from urllib.parse import urlsplit

from lokki.config import Config, payloads_path
from lokki.errors import ConfigError, PayloadError
from lokki.postgres_url import Place
from lokki.store.local import LocalStore
from lokki.store.protocol import PayloadStore


def payload_store(journal: Place, config: Config) -> PayloadStore:
    """The configured store: a folder, or ``s3://bucket/prefix``, by default beside the journal.

    Raises ConfigError for anything else, and where S3's library is not installed.
    """
    location = config.local.payloads
    if location is None or "://" not in location:
        return LocalStore(payloads_path(journal, config))
    url = urlsplit(location)
    if url.scheme != "s3" or not url.netloc:
        raise ConfigError(
            f"local.payloads: '{location}' is neither a folder nor like s3://bucket/prefix"
        )
    try:
        from lokki.store.s3 import S3Store
    except ImportError:
        raise ConfigError(
            f"local.payloads: '{location}' needs S3: pip install 'lokki-engine[aws]'"
        ) from None
    try:
        return S3Store(
            url.netloc,
            url.path.strip("/"),
            endpoint=config.aws.endpoint,
            region=config.aws.region,
        )
    except PayloadError as error:
        raise ConfigError(f"local.payloads: {error}") from None
