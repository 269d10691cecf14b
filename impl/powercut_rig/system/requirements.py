"""What the rig needs of a machine, and what of it is missing here, in plain sentences."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from powercut_rig.filesystems import FILE_SYSTEMS, FileSystem
from powercut_rig.guest.build.packages import missing_programs
from powercut_rig.system import linux_syscalls
from powercut_rig.system.subprocesses import SEARCH_PATH

_LOOP_CTL_GET_FREE: Final = 0x4C82
_FILE_SYSTEMS: Final = Path("/proc/filesystems")


def what_is_missing(fs: str = "ext4") -> list[str]:
    """One sentence for each thing that keeps the rig from running here; empty when it can.

    Looks only: makes no mount and attaches no device (one child process tries a private mount
    namespace and ends).  Raises ValueError for a file system that the rig does not know.
    """
    if fs not in FILE_SYSTEMS:
        known = ", ".join(sorted(FILE_SYSTEMS))
        raise ValueError(f"The rig does not know {fs!r}; it knows {known}.")
    found = FILE_SYSTEMS[fs]
    missing = missing_programs() if found.in_guest else missing_everywhere()
    if sys.platform != "linux":
        return missing
    return missing + missing_for(found)


def missing_everywhere() -> list[str]:
    """What the rig lacks here, whatever the file system."""
    if sys.platform != "linux":
        return [f"The block recorder needs Linux and this is {sys.platform}."]
    checks: tuple[Callable[[], str | None], ...] = (_root, _fuse, _loop, _namespace)
    return [sentence for check in checks if (sentence := check()) is not None]


def missing_for(fs: FileSystem) -> list[str]:
    """What this machine lacks for one file system, beside what the rig itself needs."""
    missing = [
        f"The program {program} is not installed (package {' or '.join(fs.packages)})."
        for program in fs.programs
        if shutil.which(program, path=SEARCH_PATH) is None
    ]
    if not fs.in_guest and (sentence := _kernel_support(fs.kind)):
        missing.append(sentence)
    return missing


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


def _kernel_support(fs: str) -> str | None:
    """/proc/filesystems lists what is loaded only, so a module on disk counts as well."""
    try:
        known = {line.split()[-1] for line in _FILE_SYSTEMS.read_text().splitlines() if line}
    except OSError:
        return None
    folder = Path("/lib/modules") / os.uname().release / "kernel" / "fs" / fs
    if fs in known or folder.is_dir():
        return None
    return f"This kernel has no {fs}."
