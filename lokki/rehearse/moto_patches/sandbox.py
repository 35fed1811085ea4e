"""Makes a process find what functions and jobs find on AWS; of the standard library alone.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html: every file is
read-only but those of its own /tmp, which has a size, and it runs as ``sbx_user1051``, who is not
root and has no home. Nowhere has it semaphores of POSIX, as `multiprocessing` needs for its pools
and queues. A Batch job is in a container, with files that are root's, as another user; it has a
/dev/shm, of Docker's 64 MB. Linux allows this to a process in user and mount namespaces of its own;
some systems do not permit them, and others have none.

As a script, it exits with 0 if such namespaces are permitted here; with arguments of `enter` as
JSON, and a command, it becomes that command in them.
"""

from __future__ import annotations

import ctypes
import errno
import json
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
_ROOT = "root:x:0:0:root:/root:/bin/bash\n"
_USER, _GROUP = 993, 990
_OF_LAMBDA = f"{_ROOT}sbx_user1051:x:{_USER}:{_GROUP}::/home/sbx_user1051:/sbin/nologin\n"
_OF_A_JOB = 1000
_TMP, _SHM = "/tmp", "/dev/shm"  # noqa: S108 - as there

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


def kept(folder: str) -> list[str]:
    """Where else there are files of this Python, and of the dependencies of an image."""
    links = {os.path.dirname(os.path.realpath(each)) for each in os.scandir(folder)}
    return [sys.prefix, sys.base_prefix, *links - {folder}]


def enter(
    folder: str,
    megabytes: int,
    kept: Sequence[str],
    shared: Sequence[str],
    *,
    is_job: bool = False,
) -> None:
    """Let this process find what is on Lambda, or in a container of a Batch job.

    It works in ``folder``. Its /tmp is new and has so many MiB; of the machine's /tmp it still
    finds ``folder`` and those ``kept``. It can write to those ``shared``, wherever they are. Raises
    OSError where that is not permitted.
    """
    user, group = os.geteuid(), os.getegid()
    own = (_OF_A_JOB, _OF_A_JOB) if is_job else (_USER, _GROUP)
    _done(_libc.unshare(_NEWNS | _NEWUSER))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{own[0]} {user} 1"),
        ("gid_map", f"{own[1]} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _mount("none", "/", _REC | _PRIVATE)
    found = [each for each in (folder, *kept) if each.startswith(f"{_TMP}/")]
    handles = {each: os.open(each, os.O_PATH) for each in (*shared, *found)}
    _set_read_only("/")
    _mount("tmpfs", _TMP, _NOSUID_NODEV, f"size={megabytes}m,mode=1777", "tmpfs")
    if is_job and os.path.isdir(_SHM):
        _mount("tmpfs", _SHM, _NOSUID_NODEV, "size=64m,mode=1777", "tmpfs")
    _name_user(_ROOT if is_job else _OF_LAMBDA)
    for each, handle in handles.items():
        os.makedirs(each, exist_ok=True)
        _mount(f"/proc/self/fd/{handle}", each, _BIND | _REC)
        os.close(handle)
        _set_read_only(each, to=each not in shared)
    os.chdir(folder)
    _drop_capabilities()


def _name_user(passwd: str) -> None:
    made = f"{_TMP}/passwd"
    with open(made, "w") as file:
        file.write(passwd)
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


def _become(about: str, *command: str) -> None:
    given = json.loads(about)
    enter(**given, kept=kept(given["folder"]))
    os.execvp(command[0], command)  # noqa: S606 - it is what the script is for


if __name__ == "__main__":
    if sys.argv[1:]:
        _become(*sys.argv[1:])
    try:
        enter("/", 1, (), ())
    except (OSError, AttributeError):
        sys.exit(1)
