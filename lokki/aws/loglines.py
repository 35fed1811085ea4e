"""What steps on AWS printed and logged: from CloudWatch, as log lines of the model."""

from __future__ import annotations

from contextlib import aclosing
from operator import itemgetter

from lokki.aws.account import Account
from lokki.errors import AwsError
from lokki.logging import said
from lokki.model.log import LogLine

_LATE_SECONDS = 15.0
"""How much later than others a line may come, from another function or job, say."""
_SLACK_SECONDS = 60.0
"""How far a function's clock may be behind the start of its execution."""


def log_group(flow: str) -> str:
    """The log group of a flow's functions and jobs."""
    return f"/lokki/{flow}"


class Lines:
    """The lines of one run in the order of their arrival, which is that of their ids.

    Lines of functions and jobs are read together, merged by time, and never twice.
    """

    def __init__(self, account: Account, flow: str, run_id: str, started: float) -> None:
        self.read: list[LogLine] = []
        self._account = account
        self._group = log_group(flow)
        self._run_id = run_id
        self._since = started - _SLACK_SECONDS
        self._seen: set[str] = set()

    async def more(self) -> None:
        """Read the new lines. Raises AwsError."""
        pages = self._account.pages(
            "logs",
            "filter_log_events",
            logGroupName=self._group,
            startTime=int(1_000 * max(0.0, self._since)),
            filterPattern=f'"{self._run_id}"',
        )
        found = []
        try:
            async with aclosing(pages):
                async for page in pages:
                    found += [each for each in page["events"] if each["eventId"] not in self._seen]
        except AwsError as error:
            if error.code == "ResourceNotFoundException":
                raise AwsError(
                    f"there is no log group {self._group}: it was deleted; deploy makes it again",
                    error.code,
                ) from error
            raise
        self._seen.update(event["eventId"] for event in found)
        lines = [each for each in (said(event["message"]) for event in found) if each is not None]
        for line in sorted((line for run, line in lines if run == self._run_id), key=itemgetter(0)):
            self.read.append(LogLine(len(self.read) + 1, *line))
        if found:
            newest = max(event["timestamp"] for event in found) / 1_000
            self._since = max(self._since, newest - _LATE_SECONDS)
