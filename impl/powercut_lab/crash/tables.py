"""The raw tables of the experiment, and the protocols that it asks about."""

from __future__ import annotations

from typing import Final

from powercut_lab.crash.trials import COUNTED
from powercut_lab.study import RawTable

PROTOCOLS: Final = (
    "paper:unsafe",
    "paper:atomic_nodirsync",
    "paper:atomic_dirsync",
    "lastgood:unsafe",
    "lastgood:atomic_nodirsync",
    "lastgood:atomic_dirsync",
    "lastgood:atomic_fullsync",
)
"""Every mode of the paper's protocol and of ours."""

HOOKS: Final = RawTable(
    "crash_hooks",
    ("protocol", "point", "where", "seed", "reason", *COUNTED),
    frozenset({"seed", *COUNTED}),
    "The trials of one run at one crash point whose group in flight has one reason. kept: a reader "
    "gets the newest acknowledged group or a newer one; whole: what it gets is a group byte for "
    "byte; in_flight_ok: the group in flight is what it gets, which is what the paper judged; "
    "next_kept: the next writing process recovers what was owed.",
)

KILLS: Final = RawTable(
    "crash_kills",
    ("protocol", "level", "call", *COUNTED),
    frozenset(COUNTED),
    "The trials in which a process was killed at calls of one name. level: 'disk call' is a call "
    "of the protocol to the file system, counted from the beginning of the last save to the end of "
    "the process; 'system call' is a call to the kernel that may change files, of the whole "
    "process. Other columns as in crash_hooks.",
)

_MODEL_NUMBERS: Final = ("exhaustive", "represented", "run")

MODEL: Final = RawTable(
    "crash_model",
    (
        "protocol", "profile", "property", "verdict", "in_doubt", *_MODEL_NUMBERS, "bound",
        "because",
    ),
    frozenset(_MODEL_NUMBERS),
    "The verdict of the model on one property after a power cut. exhaustive: 1 where every crash "
    "state of every history within the bound was looked at; represented counts those that were, "
    "run those on which recovery was run. in_doubt names what an unknown verdict hangs on; because "
    "says what a counterexample ends in.",
)  # fmt: skip

STORY: Final = RawTable(
    "crash_story",
    ("protocol", "profile", "property", "number", "what", "text"),
    frozenset({"number"}),
    "One line of the smallest counterexample that was found.",
)

_DISK_NUMBERS: Final = (
    "recordings", "images", "trees", "lost", "torn", "outside", "refused", "hung", "disagree",
)  # fmt: skip

DISKS: Final = RawTable(
    "crash_disks",
    ("protocol", "fs", *_DISK_NUMBERS),
    frozenset(_DISK_NUMBERS),
    "The crash images of two saves recorded on a real file system. images: mounted and recovered "
    "by the production code; trees: distinct contents among them; lost: an acknowledged group was "
    "not returned; torn: something was handed out that no save wrote; outside: the model does not "
    "have this tree; refused: did not mount; disagree: recovery answered otherwise on the model's "
    "disk.",
)

TABLES: Final = (HOOKS, KILLS, MODEL, STORY, DISKS)
