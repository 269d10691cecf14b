"""Twenty small programs, the same for every disk, whose crash states can all be listed.

Each write has a token of its own, so a tree says which writes landed.  Each program is there for
one question; together they have every kind of op that the model tells apart, saves and a prune.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from powercut.crash.space import Crash
from powercut.filesystem.ops import (
    Create,
    Fdatasync,
    Fsync,
    Link,
    Mkdir,
    Op,
    Rename,
    Rmdir,
    Sync,
    Truncate,
    Unlink,
    Write,
)
from powercut.simulation.world import CrashStep, SaveLive, Step
from powercut.trace.trace_file import Trace
from powercut_rig.campaigns.random_programs import program_trace, token


@frozen
class CoverageWorkload:
    """One of the twenty: a program of ops, or so many saves of a subject, each of one part."""

    name: str
    ops: tuple[Op, ...] = ()
    subject: str | None = None
    saves: int = 0

    def trace(self, profile: str) -> Trace:
        """The workload as a trace under a profile, with a power cut at its end."""
        if self.subject is None:
            return program_trace(self.ops, profile)
        steps: list[Step] = [
            SaveLive(save, {"part": token(save, 700)}) for save in range(1, self.saves + 1)
        ]
        steps.append(CrashStep(Crash("power")))
        verdict = "fails" if self.subject.endswith(":unsafe") else "holds"
        return Trace("regression", profile, "P3", verdict, tuple(steps), self.subject)


def _file(path: str, number: int, size: int, *, synced: bool = True) -> Sequence[Op]:
    """A new file with `size` bytes of token `number`."""
    made = (Create(path), Write(path, 0, token(number, size)))
    return (*made, Fsync(path)) if synced else made


COVERAGE_WORKLOADS: Final = (
    CoverageWorkload("create", (Create("/a"), Create("/b"))),
    CoverageWorkload("create-in-two-directories", (Mkdir("/d"), Create("/d/a"), Create("/b"))),
    CoverageWorkload("write-one-sector", tuple(_file("/a", 1, 100, synced=False))),
    CoverageWorkload("write-three-blocks", tuple(_file("/a", 1, 9000, synced=False))),
    CoverageWorkload(
        "write-two-files",
        (*_file("/a", 1, 100, synced=False), *_file("/b", 2, 5000, synced=False)),
    ),
    CoverageWorkload("sync-one-of-two", (*_file("/a", 1, 100, synced=False), *_file("/b", 2, 100))),
    CoverageWorkload("overwrite", (*_file("/a", 1, 5000), Write("/a", 0, token(2, 5000)))),
    CoverageWorkload(
        "overwrite-two-files",
        (
            *_file("/a", 1, 100),
            *_file("/b", 2, 100),
            Write("/a", 0, token(3, 100)),
            Write("/b", 0, token(4, 100)),
        ),
    ),
    CoverageWorkload("append", (*_file("/a", 1, 2500), Write("/a", 2500, token(2, 2500)))),
    CoverageWorkload(
        "append-and-fdatasync",
        (*_file("/a", 1, 100), Write("/a", 100, token(2, 5000)), Fdatasync("/a")),
    ),
    CoverageWorkload(
        "truncate-and-write",
        (*_file("/a", 1, 5000), Truncate("/a", 100), Write("/a", 100, token(2, 100))),
    ),
    CoverageWorkload(
        "replace-unsynced",
        (*_file("/a", 1, 100), *_file("/t", 2, 100, synced=False), Rename("/t", "/a")),
    ),
    CoverageWorkload(
        "replace-synced",
        (*_file("/a", 1, 100), *_file("/t", 2, 100), Rename("/t", "/a"), Fsync("/")),
    ),
    CoverageWorkload(
        "rename-to-another-directory",
        (Mkdir("/d"), *_file("/a", 1, 100), Sync(), Rename("/a", "/d/a"), Create("/a")),
    ),
    CoverageWorkload("link-and-unlink", (*_file("/a", 1, 100), Link("/a", "/b"), Unlink("/a"))),
    CoverageWorkload(
        "exchange",
        (
            *_file("/a", 1, 100),
            *_file("/b", 2, 100),
            Rename("/a", "/b", ("EXCHANGE",)),
            Write("/a", 0, token(3, 100)),
        ),
    ),
    CoverageWorkload(
        "remove-a-directory",
        (Mkdir("/d"), Create("/d/a"), Sync(), Unlink("/d/a"), Rmdir("/d"), Create("/d")),
    ),
    CoverageWorkload("save", subject="lastgood:atomic_dirsync", saves=1),
    CoverageWorkload("save-unsafe", subject="lastgood:unsafe", saves=1),
    CoverageWorkload("save-and-prune", subject="lastgood+keep1:atomic_dirsync", saves=2),
)  # fmt: skip
"""The fixed set."""
