"""The address of a Dask scheduler."""

from __future__ import annotations

from importlib.util import find_spec
from ipaddress import ip_address
from urllib.parse import urlsplit

from lokki.errors import ConfigError


def cluster_address(address: str) -> str:
    """The address of a scheduler. Raises ConfigError for anything else, or without Dask."""
    scheme, _, place = address.partition("://")
    if scheme not in ("tcp", "tls", "ws", "wss") or not place:
        raise ConfigError(
            f"'{address}' is not the address of a Dask scheduler, like tcp://scheduler:8786"
        )
    if find_spec("distributed") is None:
        raise ConfigError(f"the cluster {address} needs Dask: pip install 'lokki-engine[dask]'")
    return address


def is_open(address: str) -> bool:
    """Whether others might read what is sent there: neither encrypted nor within this machine."""
    scheme, host = urlsplit(address).scheme, urlsplit(address).hostname or ""
    if scheme in ("tls", "wss") or host == "localhost":
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True
