"""The mount that a path is on, as the kernel says it.

Names in the mount table do not tell it: a mount may lie over a directory that others are below.
"""

from __future__ import annotations

import os
import re
from typing import Final

from attrs import frozen

from lastgood.backends.posix_files import open_descriptor

MOUNTS: Final = "/proc/self/mountinfo"
_FDINFO: Final = "/proc/self/fdinfo"


@frozen
class Mount:
    """One line of the mount table: the file system's kind, its top, its options and its device.

    `device` is "MAJOR:MINOR", and `source` what was mounted, in the words of whoever did it.
    """

    kind: str
    point: str
    options: frozenset[str]
    device: str
    source: str


def mount_under(path: str) -> Mount | None:
    """The mount that holds a path, or would hold it. None where the kernel does not say. OSError.

    What does not exist yet will be on the mount of the nearest directory that does.
    """
    number = _mount_number(path)
    with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as table:
        return find_mount(number, table.read())


def find_mount(number: int, table: str) -> Mount | None:
    """The mount of that number in the text of a mount table (mountinfo)."""
    for line in table.splitlines():
        fields, dash, tail = line.partition(" - ")
        columns, rest = fields.split(" "), tail.split(" ")
        if dash and len(columns) >= 6 and len(rest) >= 2 and columns[0] == str(number):
            options = frozenset(f"{columns[5]},{rest[-1]}".split(","))
            return Mount(rest[0], _unescaped(columns[4]), options, columns[2], _unescaped(rest[1]))
    return None


def _mount_number(path: str) -> int:
    """The number of the mount that a path, or the nearest directory above it, is on. OSError."""
    while True:
        try:
            # O_PATH: nothing is opened, and nobody has to be allowed to read it.
            with (
                open_descriptor(path, os.O_PATH | os.O_CLOEXEC) as fd,
                open(f"{_FDINFO}/{fd}", encoding="utf-8") as said,
            ):
                lines = dict(line.partition(":")[::2] for line in said)
        except (FileNotFoundError, NotADirectoryError):
            if path in ("/", ""):
                raise
            path = path.rpartition("/")[0] or "/"
        else:
            return int(lines.get("mnt_id", "-1"))


def _unescaped(field: str) -> str:
    """A path of the mount table: space, tab, newline and backslash are octal there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
