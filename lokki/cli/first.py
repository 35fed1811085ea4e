"""The first process of a container, which the system treats differently from all others."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

import click

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def leave_first_process() -> None:
    """Continue in a child if this is the first process of its container.

    The first process gets no signal that it does not handle, and every process whose parent has
    ended becomes its child. It stays behind, passes signals on, waits for all, and ends like the
    child.
    """
    if os.getpid() != 1:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child:
        _stay(child)
    os.setsid()  # Ctrl-C reaches the first process, which passes it on
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)


def _stay(child: int) -> NoReturn:
    def pass_on(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    for each in _PASSED_ON:
        signal.signal(each, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            raise click.exceptions.Exit(code if code >= 0 else 128 - code)
