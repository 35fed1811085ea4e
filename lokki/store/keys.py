"""The layout of a payload store.

On AWS, flow, run, step and index determine every key:

``<flow>/runs/<run-id>/<step>/output.pkl.gz``            the result of a step
``<flow>/runs/<run-id>/<step>/<index>/output.pkl.gz``    the result of one item of a map
``<flow>/runs/<run-id>/<step>/failure.json``             why a step failed for good
``<flow>/runs/<run-id>/<step>/<index>/failure.json``     likewise an item
``<flow>/runs/<run-id>/attempts.d/<step>/<index>``       how many attempts it has used
``<flow>/runs/<run-id>/shown.d/<step>/<index>/…``         what ``lokki.show`` has shown
``<flow>/runs/<run-id>/previews.d/<step>/<index>.json``   the first rows of a DataFrame it returned
``<flow>/runs/<run-id>/<step>/map_manifest.json``        the list of a map's items
``<flow>/runs/<run-id>/jobs.d/<step>.json``              the Batch jobs of a durable function
``<flow>/runs/<run-id>/jobs.d/cancelled``                there are to be no more of them
``<flow>/artifacts/lambdas/function.zip``                the package that was deployed last
``<flow>/artifacts/lambdas/<digest>.zip``                each one, by its content
``<flow>/artifacts/<digest>.yaml``                       likewise its template

A run of this machine has one writer at a time, the process with its lease, and each writer has its
own folder: what one stores late disturbs nobody. The journal's rows name the keys.

``<flow>/runs/<run-id>/<step>/<writer>/output.pkl.gz``
``<flow>/runs/<run-id>/<step>/<writer>/<index>.pkl.gz``
``<flow>/runs/<run-id>/<step>/<writer>/<index>.<start>.pkl.gz``    of an item on a Dask worker

Earlier builds gave each item a folder, ``<writer>/<index>/output.pkl.gz``. In spite of their names,
these are plain pickles if they do not shrink; the rows have a checksum.

Large parameters of a run, which are stored before the run is recorded, have their own folder:

``<flow>/runs/<run-id>/params.<token>/params.pkl.gz``

An order for a Dask worker that is too large for a message is there until it is served:

``<flow>/runs/<run-id>/orders.d/<order>``

Results that other runs may reuse are in a folder whose name is no flow's, on AWS in one beside the
flow's runs:

``cache.d/<two digits>/<digest>.pkl.gz``
``<flow>/runs/cache.d/<two digits>/<digest>.pkl.gz``

No key is the beginning of another one, so a directory tree can hold them all.
"""

from __future__ import annotations

import re

from lokki.errors import PayloadError

MAX_PART = 80
"""Longest part of a key, in characters: what Step Functions allows for the name of a state, of a
state machine and of an execution, and well below the 255 bytes of a file name."""

WRITER = "w"
"""How the name of a run's writer begins, unlike an index or a file on AWS."""

# No leading dot: this excludes "." and "..", and leaves such names to temporary files of stores.
_PART = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{MAX_PART - 1}}}")


def is_part(part: str) -> bool:
    """Return whether ``part`` may stand between the slashes of a key."""
    return _PART.fullmatch(part) is not None


def check_part(part: str, what: str) -> str:
    """Return ``part``; ``what`` ("flow name", "run id", …) names it in the error.

    Allowed are 1 to 80 ASCII letters, digits, ``_``, ``.`` and ``-``, not beginning with a dot or a
    dash. Raises PayloadError for anything else.
    """
    if not is_part(part):
        raise PayloadError(
            f"{what} {part!r} cannot be part of a storage key: use 1 to {MAX_PART} ASCII letters, "
            "digits, '_', '.' or '-', beginning with a letter, a digit or '_'"
        )
    return part


def check_key(key: str, what: str = "storage key") -> str:
    """Return ``key``, a key or prefix whose parts are all allowed; PayloadError otherwise."""
    for part in key.split("/"):
        check_part(part, f"in {what} {key!r}, the part")
    return key


def run_prefix(flow: str, run_id: str) -> str:
    """Return the prefix that all keys of a run share, without a trailing slash.

    Raises PayloadError when a part is not allowed (see ``check_part``).
    """
    return f"{check_part(flow, 'flow name')}/runs/{check_part(run_id, 'run id')}"


def output_key(
    flow: str, run_id: str, step: str, index: int | None = None, writer: str | None = None
) -> str:
    """Return the key of a step's result, or of item ``index`` (from 0) of a map's step.

    ``writer`` is the run's writer on this machine; None: the key is that of AWS. Raises
    PayloadError when a part is not allowed (see ``check_part``) or the index is negative.
    """
    prefix = _call_prefix(flow, run_id, step, index, writer)
    return f"{prefix}/output.pkl.gz" if index is None or writer is None else f"{prefix}.pkl.gz"


def key_of_start(key: str, start: str) -> str:
    """Return the key of a result that is one of several starts of the same item.

    What a start stores late, on a machine that was cut off, disturbs none of the others.
    """
    return f"{key.removesuffix('.pkl.gz')}.{check_part(start, 'start')}.pkl.gz"


def writers_folder(key: str) -> str | None:
    """Return the prefix of everything that a run's writer stored of a step, from one of its keys.

    None for a key of AWS, where there are no writers.
    """
    parts = key.split("/")
    return "/".join(parts[:5]) if parts[4].startswith(WRITER) else None


def params_key(flow: str, run_id: str, token: str) -> str:
    """Return the key of a run's large parameters, distinct for another run with the same id.

    No step has a name with a dot. Raises PayloadError when a part is not allowed.
    """
    return f"{run_prefix(flow, run_id)}/{check_part(f'params.{token}', 'token')}/params.pkl.gz"


def order_key(flow: str, run_id: str, order: str) -> str:
    """Return the key of what a Dask worker gets with an order. Raises as ``params_key``."""
    return f"{run_prefix(flow, run_id)}/orders.d/{check_part(order, 'order')}"


def cached_key(digest: str, flow: str | None = None) -> str:
    """Return the key of a result that other runs may reuse; with ``flow``, that of AWS.

    Raises PayloadError when a part is not allowed (see ``check_part``).
    """
    folder = "cache.d" if flow is None else cache_prefix(flow)
    return f"{folder}/{digest[:2]}/{check_part(digest, 'digest')}.pkl.gz"


def cache_prefix(flow: str) -> str:
    """The folder of the results on AWS that runs of a flow may reuse. Raises as ``cached_key``."""
    return f"{check_part(flow, 'flow name')}/runs/cache.d"


def failure_key(flow: str, run_id: str, step: str, index: int | None = None) -> str:
    """Return the key of the record of a failed step or item. Raises as ``output_key``."""
    return f"{_call_prefix(flow, run_id, step, index)}/failure.json"


def attempts_key(flow: str, run_id: str, step: str, index: int | None = None) -> str:
    """Return the key of the number of used attempts. Raises as ``output_key``.

    It is apart from the results, which are listed; no step has a name with a dot.
    """
    below = _call_prefix(flow, run_id, step, index or 0).removeprefix(run_prefix(flow, run_id))
    return f"{run_prefix(flow, run_id)}/attempts.d{below}"


def shown_prefix(flow: str, run_id: str) -> str:
    """Return the prefix of what a run's steps have shown. Raises as ``output_key``."""
    return f"{run_prefix(flow, run_id)}/shown.d"


def shown_key(flow: str, run_id: str, step: str, index: int | None, number: str, file: str) -> str:
    """Return the key of a file about a value that a step has shown. Raises as ``output_key``.

    ``number`` is the value's, of those of its call.
    """
    item = "step" if index is None else f"{index:d}"
    parts = [check_part(each, "part") for each in (step, item, number, file)]
    return "/".join([shown_prefix(flow, run_id), *parts])


def previews_prefix(flow: str, run_id: str) -> str:
    """Return the prefix of the previews of a run's results. Raises as ``output_key``."""
    return f"{run_prefix(flow, run_id)}/previews.d"


def preview_key(flow: str, run_id: str, step: str, index: int | None) -> str:
    """Return the key of the preview of a result. Raises as ``output_key``."""
    item = "step" if index is None else f"{index:d}"
    return f"{previews_prefix(flow, run_id)}/{check_part(step, 'step name')}/{item}.json"


def step_prefix(flow: str, run_id: str, step: str, writer: str | None = None) -> str:
    """Return the prefix of the keys of a step, and of its items. Raises as ``output_key``.

    With a ``writer``, only of its keys.
    """
    return _call_prefix(flow, run_id, step, None, writer)


def _call_prefix(
    flow: str, run_id: str, step: str, index: int | None, writer: str | None = None
) -> str:
    prefix = f"{run_prefix(flow, run_id)}/{check_part(step, 'step name')}"
    if writer is not None:
        prefix = f"{prefix}/{check_part(writer, 'writer')}"
    if index is None:
        return prefix
    if index < 0:
        raise PayloadError(f"index {index} cannot be part of a storage key: indexes count from 0")
    return f"{prefix}/{index:d}"


def manifest_key(flow: str, run_id: str, step: str) -> str:
    """Return the key of the list of a map's items.

    Raises PayloadError when a part is not allowed (see ``check_part``).
    """
    return f"{step_prefix(flow, run_id, step)}/map_manifest.json"


def jobs_prefix(flow: str, run_id: str) -> str:
    """Return the prefix of what is recorded of a run's Batch jobs. Raises as ``output_key``."""
    return f"{run_prefix(flow, run_id)}/jobs.d"


def job_record_key(flow: str, run_id: str, step: str) -> str:
    """Return the key of the record of the jobs that begin with a step. Raises as ``output_key``."""
    return f"{jobs_prefix(flow, run_id)}/{check_part(step, 'step name')}.json"


def jobs_cancelled_key(flow: str, run_id: str) -> str:
    """Return the key that says that a run submits no more jobs. Raises as ``output_key``."""
    return f"{jobs_prefix(flow, run_id)}/cancelled"


def package_key(flow: str, digest: str) -> str:
    """Return the key of the package with this content. Raises as ``zip_key``."""
    return f"{check_part(flow, 'flow name')}/artifacts/lambdas/{digest}.zip"


def template_key(flow: str, digest: str) -> str:
    """Return the key of the CloudFormation template with this content. Raises as ``zip_key``."""
    return f"{check_part(flow, 'flow name')}/artifacts/{digest}.yaml"


def zip_key(flow: str) -> str:
    """Return the key of a flow's deployment package.

    Raises PayloadError when the flow's name is not allowed (see ``check_part``).
    """
    return f"{check_part(flow, 'flow name')}/artifacts/lambdas/function.zip"
