"""Makes a process find what a function finds on Lambda; of the standard library alone.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html: every file is
read-only but those of its own /tmp, which has a size, and it runs as ``sbx_user1051``, who is not
root and has no home. Linux allows this to a process in user and mount namespaces of its own; some
systems do not permit them, and others have none. Nowhere has it semaphores of POSIX, as
`multiprocessing` needs for its pools and queues.

As a script, it exits with 0 if such namespaces are permitted here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

_NEWNS, _NEWUSER = 0x0002_0000, 0x1000_0000
_NOSUID_NODEV, _BIND, _REC, _PRIVATE = 0x6, 0x1000, 0x4000, 0x4_0000
_RDONLY, _RECURSIVE, _MOUNT_SETATTR, _AT_FDCWD = 0x1, 0x8000, 442, -100
_CAPABILITIES_3 = 0x2008_0522
_USER, _GROUP = 993, 990
_PASSWD = (
    "root:x:0:0:root:/root:/bin/bash\n"
    f"sbx_user1051:x:{_USER}:{_GROUP}::/home/sbx_user1051:/sbin/nologin\n"
)
_TMP = "/tmp"  # noqa: S108 - as there

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user")]


@cache
def is_permitted() -> bool:
    """Whether this machine permits a process to `enter`."""
    tried = subprocess.run(
        [sys.executable, "-I", "-S", __file__], stderr=subprocess.DEVNULL, check=False
    )
    return tried.returncode == 0


def without_semaphores() -> None:
    """Let this process make no semaphores, as where there is no /dev/shm."""
    module: Any = import_module("_multiprocessing")

    class SemLock(module.SemLock):  # type: ignore[misc]
        def __new__(cls, *about: object, **more: object) -> SemLock:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    module.SemLock = SemLock


def enter(folder: str, megabytes: int, kept: Sequence[str], shared: Sequence[str]) -> None:
    """Let this process find what is on Lambda. Raises OSError where that is not permitted.

    It works in ``folder``. Its /tmp is new and has so many MiB; of the machine's /tmp it still
    finds ``folder`` and those ``kept``. It can write to those ``shared``, wherever they are.
    """
    user, group = os.geteuid(), os.getegid()
    _done(_libc.unshare(_NEWNS | _NEWUSER))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_USER} {user} 1"),
        ("gid_map", f"{_GROUP} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _mount("none", "/", _REC | _PRIVATE)
    found = [each for each in (folder, *kept) if each.startswith(f"{_TMP}/")]
    handles = {each: os.open(each, os.O_PATH) for each in (*shared, *found)}
    _set_read_only("/")
    _mount("tmpfs", _TMP, _NOSUID_NODEV, f"size={megabytes}m,mode=1777", "tmpfs")
    _name_user()
    for each, handle in handles.items():
        os.makedirs(each, exist_ok=True)
        _mount(f"/proc/self/fd/{handle}", each, _BIND | _REC)
        os.close(handle)
        _set_read_only(each, to=each not in shared)
    os.chdir(folder)
    _drop_capabilities()


def _name_user() -> None:
    made = f"{_TMP}/passwd"
    with open(made, "w") as file:
        file.write(_PASSWD)
    _mount(made, "/etc/passwd", _BIND)
    os.unlink(made)
    _set_read_only("/etc/passwd")


def _mount(source: str, target: str, flags: int, data: str = "", kind: str = "none") -> None:
    texts = (each.encode() for each in (source, target, kind))
    _done(_libc.mount(*texts, ctypes.c_ulong(flags), data.encode()))


def _set_read_only(path: str, *, to: bool = True) -> None:
    attributes = _Attributes(_RDONLY if to else 0, 0 if to else _RDONLY, 0, 0)
    _done(
        _libc.syscall(
            _MOUNT_SETATTR,
            _AT_FDCWD,
            path.encode(),
            _RECURSIVE,
            ctypes.byref(attributes),
            ctypes.c_size_t(ctypes.sizeof(attributes)),
        )
    )


def _drop_capabilities() -> None:
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    _done(_libc.capset(header, none))


def _done(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    try:
        enter("/", 1, (), ())
    except (OSError, AttributeError):
        sys.exit(1)
