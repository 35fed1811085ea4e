"""The address of a Dask scheduler."""

from __future__ import annotations

from importlib.util import find_spec

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
