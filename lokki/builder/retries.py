"""The retries of a step in the terms of Step Functions and Batch, the same as locally."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, islice, repeat
from math import ceil, inf

from lokki.builder.asl import Retrier
from lokki.builder.sizes import is_batch
from lokki.errors import WorkerDied, never_retried
from lokki.retry import RetryConfig, RetryLater
from lokki.runtime.deaths import death_names, error_names
from lokki.runtime.event import FAILED, MOST_LATER
from lokki.runtime.units import TaskUnit, longest

# https://docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html
_LAMBDA_ERRORS = (
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
)
_LAMBDA_FULL = (
    "Lambda.TooManyRequestsException",
    "Lambda.EC2ThrottledException",
    "Lambda.ENILimitReachedException",
    "Lambda.SubnetIPAddressLimitReachedException",
)
"""There is no room for another call now
(https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors)."""
_LAMBDA_STARTING = (
    "Lambda.CodeArtifactUserPendingException",
    "Lambda.ResourceConflictException",
    "Lambda.ResourceNotReadyException",
    "Lambda.ENINotReadyException",
)
"""The function is being prepared: it is new, or Lambda had taken it down after weeks without calls
(https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html,
https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors).

Seen by others: from 40 to 106 s, and an image after a deploy 10 to 60 s
(https://github.com/aws-solutions-library-samples/accelerated-intelligent-document-processing-on-aws/issues/801,
https://github.com/go-to-k/cdkd/issues/2403).
"""
_BATCH_ERRORS = (
    "Batch.AWSBatchException",
    "Batch.BatchException",
    "Batch.ServerException",
    "Batch.SdkClientException",
    "Batch.TooManyRequestsException",
    "Batch.AWS.Batch.TooManyRequestsException",
    "AWS.Batch.TooManyRequestsException",
)
"""AWS does not document the name of a throttled submission, and state machines in use match these.

Seen by others: Batch.AWSBatchException and Batch.ServerException for failures of Batch itself
(https://github.com/ASFHyP3/hyp3/issues/911 and /pull/805), Batch.TooManyRequestsException
(https://github.com/chanzuckerberg/single-cell-data-portal/pull/7087). The first two here are also
those of other refusals, such as a missing permission.
"""
_BATCH_ATTEMPTS = 3
"""Most runs of a job whose host goes away."""
_MOST_BATCH_ATTEMPTS = 10  # of a job
_RECLAIMED = ("Host EC2*", "Your Spot Task was interrupted*")
"""The reasons of jobs whose host went away, on EC2 and on Fargate
(https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html,
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html)."""


def retriers(unit: TaskUnit, *, several: bool = False) -> tuple[Retrier, ...]:
    """The retries of a state, including those of the service's own failures, and of RetryLater.

    The seconds of a RetryLater cannot be followed: an interval is the same for all errors. It waits
    for an hour or so.
    Where the runtime itself retries calls (a Batch job, a chain of calls, ``several`` items in one
    invocation), only those for dead processes are left.
    """
    if is_batch(unit):
        return (_service(_BATCH_ERRORS, attempts=20, longest=60),)
    service = (
        _service(_LAMBDA_FULL, attempts=2_000, longest=30),  # about eight hours
        _service(_LAMBDA_ERRORS, attempts=6, longest=60),
        _service(_LAMBDA_STARTING, attempts=20, longest=30),  # about four minutes
        _service((RetryLater.__name__,), attempts=MOST_LATER, longest=300, first=10),
    )
    held = several or len(unit.calls) > 1
    policy = longest(unit.calls)
    names = (death_names if held else error_names)(policy.exceptions)
    if not policy.retries or not names:
        return service
    never = Retrier(
        error_equals=tuple(sorted(never_retried().difference(names))),
        interval_seconds=1,
        max_attempts=0,
        backoff_rate=1.0,
    )
    return (*service, never, _retrier(policy, names))


def _service(errors: tuple[str, ...], *, attempts: int, longest: int, first: int = 1) -> Retrier:
    """Retries of what a service refuses; ``first`` and ``longest``: seconds of these waits."""
    return Retrier(
        error_equals=errors,
        interval_seconds=first,
        max_attempts=attempts,
        backoff_rate=2.0,
        max_delay_seconds=longest,
        jitter_strategy="FULL",
    )


def _retrier(policy: RetryConfig, names: tuple[str, ...]) -> Retrier:
    """A policy in whole seconds, at least one; the longest wait must be longer than the first."""
    first = max(1, ceil(policy.wait(1)))
    is_constant = policy.delay >= policy.max_delay
    return Retrier(
        error_equals=names,
        interval_seconds=first,
        max_attempts=policy.retries,
        backoff_rate=1.0 if is_constant else max(1.0, policy.backoff),
        max_delay_seconds=None if is_constant else max(first + 1, ceil(policy.max_delay)),
    )


def most_wait(unit: TaskUnit) -> float:
    """The seconds that a state waits between all attempts of its calls."""
    retrier = _retrier(longest(unit.calls), ())
    first, most = float(retrier.interval_seconds), retrier.max_delay_seconds or inf
    factors = repeat(retrier.backoff_rate, retrier.max_attempts)
    waits = accumulate(factors, lambda wait, factor: min(wait * factor, most), initial=first)
    return sum(islice(waits, retrier.max_attempts))


def rounded(policy: RetryConfig) -> list[str]:
    """What makes the waits of a policy longer on AWS: ``delay=0.5 becomes 1``."""
    if not policy.retries:
        return []
    made = _retrier(policy, ())
    waits = [("delay", policy.wait(1), made.interval_seconds)]
    if made.max_delay_seconds is not None and policy.wait(policy.retries) == policy.max_delay:
        waits.append(("max_delay", policy.max_delay, made.max_delay_seconds))
    return [f"{name}={here:g} becomes {there}" for name, here, there in waits if here != there]


# ---- Batch ---------------------------------------------------------------------------------------


def job_attempts(unit: TaskUnit, *, spot: bool = False) -> Mapping[str, object]:
    """The retry strategy of a job definition; ``spot``: hosts go away as a matter of course.

    The job itself retries what its step's policy names, and ends with `FAILED` when it gives up. A
    job that dies runs again if the policy names WorkerDied; one whose host goes away always does.
    Batch counts both alike, so with ``spot`` a job runs as often as Batch allows.
    """
    policy = longest(unit.calls)
    again = issubclass(WorkerDied, policy.exceptions)
    least = _MOST_BATCH_ATTEMPTS if spot else _BATCH_ATTEMPTS
    attempts = max(least, policy.retries + 1 if again else 1)
    died = "RETRY" if again and policy.retries else "EXIT"
    return {
        "Attempts": min(attempts, _MOST_BATCH_ATTEMPTS),
        "EvaluateOnExit": [
            {"OnExitCode": str(FAILED), "Action": "EXIT"},
            *({"OnStatusReason": reason, "Action": "RETRY"} for reason in _RECLAIMED),
            {"OnReason": "*", "Action": died},
        ],
    }
