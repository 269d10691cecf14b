"""Requirements of the block recorder, whatever the file system, and those that are not met here."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from powercut_rig.system import linux_syscalls

_LOOP_CTL_GET_FREE: Final = 0x4C82


def missing_everywhere() -> list[str]:
    """One sentence for each thing that the block recorder lacks here, whatever the file system.

    Looks only: one child process tries a private mount namespace and ends.
    """
    if sys.platform != "linux":
        return [f"The block recorder needs Linux and this is {sys.platform}."]
    checks: tuple[Callable[[], str | None], ...] = (_root, _fuse, _loop, _namespace)
    return [sentence for check in checks if (sentence := check()) is not None]


def _root() -> str | None:
    if os.geteuid() == 0:
        return None
    return f"Mounting needs root, and this process has the user id {os.geteuid()}."


def _fuse() -> str | None:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/fuse cannot be opened ({error.strerror}); load the fuse module."
    return None


def _loop() -> str | None:
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"/dev/loop-control cannot be opened ({error.strerror}); load the loop module."
    try:
        number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
    except OSError as error:
        return f"No loop device is free ({error.strerror})."
    finally:
        os.close(control)
    with contextlib.suppress(FileNotFoundError):  # then the rig makes a node of its own
        if not stat.S_ISBLK(Path(f"/dev/loop{number}").stat().st_mode):
            return f"/dev/loop{number} is not a block device."
    return None


def _namespace() -> str | None:
    """Try a private mount namespace in a child, so that this process stays where it is."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            linux_syscalls.enter_private_mount_namespace()
            code = 0
        except OSError as error:
            code = min(error.errno or 255, 255)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return None
    why = os.strerror(code) if code > 0 else "killed"
    return f"A private mount namespace is not permitted here ({why}); CAP_SYS_ADMIN is needed."
