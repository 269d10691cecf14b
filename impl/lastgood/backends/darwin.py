"""macOS: fsync hands the data to the drive and does not ask it to flush its cache."""

from __future__ import annotations

import re
import subprocess
from typing import Final

from lastgood.backends.posix import PosixDisk
from lastgood.disk import FileSystem

_TIMEOUT_S: Final = 10
_LINE: Final = re.compile(r"^.* on (?P<point>/.*?) \((?P<name>[^,)]+)(?P<rest>[^)]*)\)$")
_NOTE: Final = "fsync on macOS does not flush the drive's cache: a power cut is not covered"


class DarwinDisk(PosixDisk):
    """A POSIX disk that asks the `mount` command what is under a path."""

    def _probe(self, path: str) -> FileSystem:
        try:
            done = subprocess.run(
                ["/sbin/mount"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return FileSystem("unknown", "/", False, "kernel", _NOTE)
        return file_system_of(path, done.stdout)


def file_system_of(path: str, mounts: str) -> FileSystem:
    """The file system of a canonical path, by what `mount` prints."""
    best, name = "/", "unknown"
    for line in mounts.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        point = match["point"]
        # Firmlinks join the data volume into "/": its paths are not under its mount point.
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, name = point, match["name"]
    return FileSystem(name, best, name == "apfs", "kernel", _NOTE)
