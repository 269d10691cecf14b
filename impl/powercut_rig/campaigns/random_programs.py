"""Programs for the disk: random ones, and saves of a subject, each known by a number.

The same number gives the same program on every machine.  Every write carries a token that no
other write has, so that what is read from a disk says which writes landed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence, Set
from typing import Final

from powercut.crash.space import Crash
from powercut.filesystem import ops
from powercut.filesystem.inodes import File, file_at
from powercut.filesystem.state import State
from powercut.simulation.world import CrashStep, Perform, SaveLive, Step
from powercut.trace.trace_file import Trace

PATHS: Final = ("/a", "/b", "/d", "/d/a", "/d/b", "/d/e", "/d/e/a")
"""Few names, so that ops meet each other; each of a file or of a directory, as it comes."""

SIZES: Final = (5, 100, 2500, 4096, 5000, 9000)
SAVE_SIZES: Final = (0, 11, 700, 4096, 10_000, 30_000)

_KINDS: Final = (
    ("create", 6), ("write", 9), ("append", 4), ("truncate", 2), ("mkdir", 3), ("rename", 4),
    ("link", 1), ("unlink", 2), ("rmdir", 1), ("fsync", 5), ("fsync of a directory", 3),
    ("fdatasync", 2), ("sync", 1), ("symlink", 1), ("exchange", 1), ("waiting write", 1),
    ("open", 2), ("tmpfile", 1), ("handle", 4), ("close", 1),
)  # fmt: skip

_AGAIN: Final = 0.12
"""How often something that was synced is renamed, linked, unlinked or replaced."""


def token(number: int, size: int) -> bytes:
    """`size` bytes that only write `number` of a program writes."""
    word = f"<{number}>".encode()
    return (word * (size // len(word) + 1))[:size]


def random_program(
    number: int, length: int = 10, lacks: Set[str] = frozenset()
) -> tuple[ops.Op, ...]:
    """A program of so many ops, each of which succeeds; of kinds that `lacks` names it has none."""
    dice = random.Random(f"powercut-rig program {number}")  # noqa: S311 - drawn the same each time
    state, program = State(), list[ops.Op]()
    while len(program) < length:
        kind = random_kind(dice)
        if dice.random() < _AGAIN:
            op = _changed_again(dice, program)
        else:
            op = None if kind in lacks else random_op(dice, state, len(program), kind)
        if op is None:
            continue
        try:
            state = state.perform(op, str(len(program)))
        except OSError:
            continue
        program.append(op)
    return tuple(program)


def _changed_again(dice: random.Random, program: Sequence[ops.Op]) -> ops.Op | None:
    """A change of the name of what was synced last: a log that holds it has to follow."""
    synced = next((op.path for op in reversed(program) if isinstance(op, ops.Fsync)), "@")
    other = dice.choice(PATHS)
    if synced.startswith("@") or synced == "/":
        return None
    return dice.choice(
        (ops.Rename(synced, other), ops.Link(synced, other), ops.Unlink(synced))
        if dice.random() < 0.8
        else (ops.Rename(other, synced),)
    )


def random_kind(dice: random.Random) -> str:
    """A kind of op, each as often as its weight says."""
    return dice.choices([name for name, _ in _KINDS], [weight for _, weight in _KINDS])[0]


def random_op(dice: random.Random, state: State, number: int, kind: str = "") -> ops.Op | None:
    """An op that may succeed in that state; None where this draw has nothing to act on."""
    kind = kind or random_kind(dice)
    if kind in ("open", "tmpfile", "handle", "close"):
        return _handle_op(dice, state, number, kind)
    path, other = dice.choice(PATHS), dice.choice(PATHS)
    match kind:
        case "create":
            return ops.Create(path)
        case "write" | "append":
            size = size_of(state, path)
            if size is None:
                return None
            offset = size if kind == "append" else dice.choice((0, 0, 100, 4096, size))
            return ops.Write(path, min(offset, size), token(number, dice.choice(SIZES)))
        case "waiting write":
            flags = (dice.choice(("O_SYNC", "O_DSYNC")),)
            size = size_of(state, path)
            if size is None:
                return None
            return ops.Write(path, dice.choice((0, size)), token(number, 100), flags)
        case "truncate":
            size = size_of(state, path)
            return None if size is None else ops.Truncate(path, dice.choice((0, size // 2, 6000)))
        case "mkdir":
            return ops.Mkdir(path)
        case "rename":
            return ops.Rename(path, other)
        case "exchange":
            return ops.Rename(path, other, ("EXCHANGE",))
        case "symlink":
            return ops.Symlink(dice.choice(("a", "b")), path)
        case "link":
            return ops.Link(path, other)
        case "unlink":
            return ops.Unlink(path)
        case "rmdir":
            return ops.Rmdir(path)
        case "fsync" | "fdatasync":
            if size_of(state, path) is None:
                return None
            return ops.Fsync(path) if kind == "fsync" else ops.Fdatasync(path)
        case "sync":
            return ops.Sync()
        case _:
            return ops.Fsync(dice.choice(("/", "/d", "/d/e")))


def _handle_op(dice: random.Random, state: State, number: int, kind: str) -> ops.Op | None:
    """An op on an open file, or one that opens or closes it."""
    handles = sorted(state.handles)
    match kind:
        case "open":
            return ops.Open(dice.choice(PATHS), f"h{number}", dice.choice(((), ("O_CREAT",))))
        case "tmpfile":
            return ops.Tmpfile(dice.choice(("/", "/d")), f"h{number}")
        case _ if not handles:
            return None
        case "close":
            return ops.Close(dice.choice(handles))
        case _:
            handle = f"@{dice.choice(handles)}"
            return dice.choice(
                (
                    ops.Write(handle, 0, token(number, dice.choice(SIZES))),
                    ops.Append(handle, token(number, dice.choice(SIZES))),
                    ops.Fsync(handle),
                    ops.Fdatasync(handle),
                    ops.Link(handle, dice.choice(PATHS)),
                )
            )


def size_of(state: State, path: str) -> int | None:
    """The size of the file at a path; None where there is none."""
    try:
        _, inode = file_at(state.view, path)
    except OSError:
        return None
    return inode.content.size if isinstance(inode, File) else None


def program_trace(program: Sequence[ops.Op], profile: str, **origin: str) -> Trace:
    """A program as a trace: whatever it leaves, the profile must have it."""
    steps = tuple(Perform(f"{n}-{ops.op_name(op)}", op) for n, op in enumerate(program))
    end = CrashStep(Crash("power"))
    return Trace("pinned", profile, "P1", "holds", (*steps, end), origin=origin)


def saves_trace(number: int, subject: str, profile: str) -> Trace:
    """One to three saves of a subject, of parts in many sizes, with a power cut at the end."""
    dice = random.Random(f"powercut-rig saves {number}")  # noqa: S311 - drawn the same each time
    saves = [
        SaveLive(
            save,
            {
                f"part{part}": token(10 * save + part, dice.choice(SAVE_SIZES))
                for part in range(1, dice.randint(2, 4))
            },
        )
        for save in range(1, dice.randint(2, 4))
    ]
    steps: tuple[Step, ...] = (*saves, CrashStep(Crash("power")))
    return Trace("regression", profile, "P3", "holds", steps, subject)
