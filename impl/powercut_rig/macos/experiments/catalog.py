"""Experiments that a Mac can answer: each names one rule of the profile `apfs`, and may strike it.

An experiment is small programs whose clones are held against the profile twice: with the rule and
without.  A tree that only the rule forbids strikes it.  For the rest it has to be shown that the
clones could have told: a control, the same program without the deciding sync, must lose what the
rule protects; or some clone must show a program half done.

All of it is of the kernel class.  What an image cannot settle is said with each experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from powercut.filesystem.content import Fill
from powercut.filesystem.ops import (
    Barrier,
    Create,
    Fsync,
    Fullsync,
    Mkdir,
    Op,
    Rename,
    Truncate,
    Write,
)

Ops = tuple[Op, ...]

_MIB: Final = 1 << 20


@frozen
class Trial:
    """One program: `setup` is durable beforehand; `control` is the program without its sync.

    With `fill`, copies of that block take all room of the volume before `setup`, and are freed.
    """

    name: str
    ops: Ops
    setup: Ops = ()
    control: Ops | None = None
    fill: bytes = b""


@frozen
class Experiment:
    """One rule of the profile, the question in words, its trials, and what they leave open.

    `also` are rules that cover the same in the kernel class: a tree that strikes the one strikes
    them too.
    """

    rule: str
    question: str
    trials: tuple[Trial, ...]
    leaves_open: str = (
        "the power class: the drive's cache is not in an image. It takes a Mac whose power is cut."
    )
    repeats: int = 3
    also: tuple[str, ...] = ()


def _synced(name: str, setup: Ops, before: Ops, sync: Op) -> Trial:
    """A trial about what one sync keeps, with the same program without it as its control."""
    return Trial(name, (*before, sync), setup, before)


def _ranged(flag: str, offset: int, data: bytes) -> Trial:
    """A trial about what one such write keeps over or behind old bytes; a plain one as control."""
    name = f"{flag}, new blocks" if offset else flag
    plain, synced = Write("/a", offset, data), Write("/a", offset, data, (flag,))
    return Trial(name, (synced,), _FILE_AND_OLD, (plain,))


def _filled(text: bytes, size_bytes: int) -> bytes:
    return (text * (size_bytes // len(text) + 1))[:size_bytes]


_FILE_AND_OLD: Final[Ops] = (Create("/a"), Write("/a", 0, b"old"))
_BLOCK: Final = b"n" * 4096
_NEW_BLOCKS: Final[Ops] = (Write("/a", 3, Fill(ord("n"), _MIB)),)
_TWO_DIRECTORIES: Final[Ops] = (Mkdir("/d"), Mkdir("/e"))
_MANY_NAMES: Final[Ops] = tuple(
    Create(f"/{'de'[number % 2]}/name{number:03}") for number in range(24)
)
_RENAMES: Final[Ops] = tuple(
    Rename(f"/{'de'[n % 2]}/name{n}", f"/{'ed'[n % 2]}/name{n + 1}") for n in range(24)
)

EXPERIMENTS: Final = (
    Experiment(
        "fsync-directory",
        "Does a sync of a directory keep the names that were made in it?",
        (
            _synced("after a creation", (Mkdir("/d"),), (Create("/d/name"),), Fsync("/d")),
            _synced(
                "after a rename",
                (Mkdir("/d"), Create("/d/old")),
                (Rename("/d/old", "/d/new"),),
                Fsync("/d"),
            ),
        ),
    ),
    Experiment(
        "fsync-logs-names",
        "Does a sync of a new file keep its name, while its directory is not synced?",
        (
            _synced(
                "fsync", (Mkdir("/d"),), (Create("/d/a"), Write("/d/a", 0, b"new")), Fsync("/d/a")
            ),
        ),
    ),
    Experiment(
        "namespace-in-order",
        "Can a name be there without one that was made before it in another directory?",
        (Trial("names in two directories", _MANY_NAMES, _TWO_DIRECTORIES),),
        repeats=4,
    ),
    Experiment(
        "same-sector-in-order",
        "Of two writes to one sector, can the second be there without the first?",
        (
            Trial(
                "two bytes of one sector",
                tuple(Write("/a", 10 * n, bytes([65 + n])) for n in range(12)),
                (Create("/a"), Write("/a", 0, bytes(512))),
            ),
        ),
        repeats=4,
    ),
    Experiment(
        "unwritten-reads-zeros",
        "Where appended bytes did not land, can an older file's bytes be read?",
        (
            Trial(
                "appends over freed space",
                tuple(Write("/a", n * _MIB, Fill(ord("n"), _MIB)) for n in range(32)),
                (Create("/a"),),
                fill=_filled(b"<old pattern>", 4096),
            ),
        ),
        repeats=4,
    ),
    Experiment(
        "rename-atomic",
        "Can a crash leave a renamed file under neither name, or under both?",
        (Trial("to and fro", _RENAMES, (*_TWO_DIRECTORIES, Create("/d/name0"))),),
        repeats=4,
    ),
    Experiment(
        "fsync-data",
        "Are bytes and size of a file that fsync or F_BARRIERFSYNC has returned for in the image?",
        (
            _synced("fsync", _FILE_AND_OLD, (Write("/a", 0, b"new"),), Fsync("/a")),
            _synced("F_BARRIERFSYNC", _FILE_AND_OLD, (Write("/a", 0, b"new"),), Barrier("/a")),
            _synced("fsync, new blocks", _FILE_AND_OLD, _NEW_BLOCKS, Fsync("/a")),
            _synced("F_BARRIERFSYNC, new blocks", _FILE_AND_OLD, _NEW_BLOCKS, Barrier("/a")),
        ),
    ),
    Experiment(
        "ranged-sync-data",
        "Are bytes and size of a write with O_SYNC or O_DSYNC in the image when it has returned?",
        (
            _ranged("O_SYNC", 0, b"new"),
            _ranged("O_DSYNC", 0, b"new"),
            _ranged("O_SYNC", 3, _BLOCK),
            _ranged("O_DSYNC", 3, _BLOCK),
        ),
    ),
    Experiment(
        "fullsync-drains-drive",
        "Are the bytes of a file that F_FULLFSYNC has returned for in the image?",
        (_synced("F_FULLFSYNC", _FILE_AND_OLD, (Write("/a", 0, b"new"),), Fullsync("/a")),),
        "what the rule is for: that the drive's own cache is drained. No image can show that.",
        also=("fsync-data",),
    ),
    Experiment(
        "barrier-orders",
        "After F_BARRIERFSYNC of one file, can a later write be there without its bytes?",
        (
            Trial(
                "two files",
                (Write("/a", 0, b"new"), Barrier("/a"), Write("/b", 0, b"new"), Fsync("/b")),
                (*_FILE_AND_OLD, Create("/b"), Write("/b", 0, b"old")),
                (Write("/a", 0, b"new"), Write("/b", 0, b"new"), Fsync("/b")),
            ),
        ),
        "what the rule is for: the order in which a drive empties its cache. No image shows that.",
        also=("fsync-data",),
    ),
    Experiment(
        "truncation-in-order",
        "After a file is cut and extended, can its new size show the old bytes?",
        (
            Trial(
                "cut and extended",
                tuple(
                    op
                    for n in range(8)
                    for op in (Truncate("/a", 0), Truncate("/a", 4096 * (n + 2)))
                ),
                (Create("/a"), Write("/a", 0, _filled(b"<old>", 4096))),
            ),
        ),
        repeats=4,
    ),
)
"""In the order in which they are run."""

NOT_BY_AN_IMAGE: Final[Mapping[str, str]] = {}
"""Rules in doubt that no image can settle in any class, and why. None so far."""
