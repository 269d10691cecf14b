"""The lines of macOS's `fs_usage -w`, parsed into spans.

A line has the time at which an event ended, its name, its arguments, how long it took, "W" where
the process waited, and "command.thread".  The arguments are `F=5` (a descriptor), `B=0x2000`
(bytes), `D=0x12ab` (a block of the device), `O=0x..` (an offset), `[ 2]` (an errno), a command in
`<>`, and a path.  Written after the manual page fs_usage(1) and the printing code in Apple's
published system_cmds; it was not run on a Mac.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen

from powercut.report.timeline import Look, TimelineSpan
from powercut_lab.observe.layers import CALLS, DISK, SYNC_CALLS

_LINE: Final = re.compile(
    r"^(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d\.\d{6})\s+(?P<name>\S+)(?P<middle>.*?)\s"
    r"(?P<took>\d+\.\d{6})(?P<waited> W)?\s+(?P<command>\S.*?)\.(?P<thread>\d+)\s*$"
)
_BYTES: Final = re.compile(r"\bB=0x([0-9a-fA-F]+)")
_BLOCK: Final = re.compile(r"\bD=0x([0-9a-fA-F]+)")
_COMMAND: Final = re.compile(r"<([^>]+)>")
_PATH: Final = re.compile(r"(?:^|\s)(/\S.*?)\s*$")

_CALLS: Final = frozenset(
    {
        "open", "openat", "write", "pwrite", "writev", "fsync", "fdatasync", "sync", "rename",
        "renameat", "renameatx_np", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "truncate",
        "ftruncate", "link", "linkat", "symlink", "close",
    }
)  # fmt: skip
_FCNTLS: Final = {"FULLFSYNC": "F_FULLFSYNC", "CMD=85": "F_BARRIERFSYNC", "CMD=51": "F_FULLFSYNC"}
_FLUSH: Final = re.compile(r"<DKIOCSYNCHRONIZE(CACHE)?>")
_WRITE_NAME: Final = re.compile(r"^(WrData|WrMeta|PgOut)")
_DAY_S: Final = 86_400


@frozen
class UsageLine:
    """One event: when it ended (seconds of the local day), its name and arguments, its seconds."""

    end_s: float
    name: str
    arguments: str
    took_s: float
    waited: bool
    command: str


def parse_line(line: str) -> UsageLine | None:
    """The event of a line; None for a heading, a line that was cut off, or anything else."""
    found = _LINE.match(line)
    if found is None:
        return None
    hours, minutes, seconds = int(found["hour"]), int(found["minute"]), float(found["second"])
    return UsageLine(
        hours * 3600 + minutes * 60 + seconds,
        found["name"].removesuffix("_nocancel"),
        found["middle"].strip(),
        float(found["took"]),
        found["waited"] is not None,
        found["command"],
    )


def spans_of(lines: Iterable[str], command: str, begin_s: float) -> Iterator[TimelineSpan]:
    """The file calls of a command, and the writes and flushes of the whole machine's disks.

    fs_usage names commands, not processes, and the kernel writes for everybody: what another
    program writes at the same time is here too.  `begin_s` is the second of the local day that
    counts as 0; times are microseconds from there.  The offsets of writes are not known: a block's
    size is not told.
    """
    for line in lines:
        event = parse_line(line)
        if event is None:
            continue
        look, lane, name = _what(event, command)
        if look is None:
            continue
        end_us = _since(event.end_s, begin_s) * 1e6
        begin_us = end_us - event.took_s * 1e6
        size = _BYTES.search(event.arguments)
        count = int(size[1], 16) if size else 0
        yield TimelineSpan("", lane, look, name, round(begin_us, 1), round(end_us, 1), count)


def _what(event: UsageLine, command: str) -> tuple[Look | None, str, str]:
    if _FLUSH.search(event.arguments):
        return "flush", DISK, "flush"
    if _WRITE_NAME.match(event.name):
        block = _BLOCK.search(event.arguments)
        return "write", DISK, f"{event.name} block {int(block[1], 16)}" if block else event.name
    if not event.command.lower().startswith(command.lower()):
        return None, "", ""
    name = event.name
    if name == "fcntl":
        said = _COMMAND.search(event.arguments)
        name = _FCNTLS.get(said[1], "") if said else ""
    if name not in _CALLS and name not in _FCNTLS.values():
        return None, "", ""
    path = _PATH.search(event.arguments)
    file = path[1].rpartition("/")[2] if path else ""
    look: Look = "sync" if name in SYNC_CALLS else "call"
    return look, CALLS, f"{name} {file}".strip()


def _since(at_s: float, begin_s: float) -> float:
    """Seconds of the local day from one to another, across midnight too."""
    return (at_s - begin_s + _DAY_S / 2) % _DAY_S - _DAY_S / 2
