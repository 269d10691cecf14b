"""Plans of early writes: they bring unsynced data and names to the disk in many orders.

Left alone, a kernel keeps unsynced data for half a minute, and a short recording would never
show it on the disk.  A plan says after which op some of it is written.  Plans are drawn by a
number, so that a recording can be made again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, cast

from attrs import evolve, field, frozen

from powercut.filesystem.ops import (
    Append,
    Barrier,
    Close,
    Fdatasync,
    Fsync,
    Fullsync,
    Mark,
    Op,
    Rename,
    Sync,
    Unlink,
    Write,
)

Planner = Callable[[Sequence[Op], int], Sequence["WriteBack"]]
"""Draws the plan of a number for some ops."""

_PAGE_BYTES: Final = 4096
_PACES: Final = (0.25, 0.6, 0.95)


@frozen
class WriteBack:
    """After op `after_op` (-1: before the first) the kernel writes something early.

    `data`: the dirty pages of `path` from `offset_bytes` on, for `length_bytes` (0: to the
    end), without its metadata and without a flush.  `commit`: the journal commits, as its
    timer does every few seconds; data that has no block yet stays in memory.  `syncfs`:
    everything, with a flush.
    """

    after_op: int
    kind: Literal["data", "commit", "syncfs"]
    path: str = ""
    offset_bytes: int = field(default=0)
    length_bytes: int = field(default=0)

    @offset_bytes.validator
    @length_bytes.validator
    def _not_negative(self, _attribute: object, value: int) -> None:
        if value < 0:
            raise ValueError(f"A write-back range of {value} B was found; expected 0 or more.")

    def __attrs_post_init__(self) -> None:
        if (self.kind == "data") != bool(self.path):
            raise ValueError(
                f"A write-back of kind {self.kind!r} with path {self.path!r} was found; "
                "`data` needs a path and the other kinds take none."
            )


def plan_text(plan: Sequence[WriteBack]) -> str:
    """A plan in one line, as the origin of a trace holds it."""
    return " ".join(
        f"{each.after_op}:{each.kind}"
        + (f":{each.path}:{each.offset_bytes}:{each.length_bytes}" if each.path else "")
        for each in plan
    )


def parse_plan(text: str) -> tuple[WriteBack, ...]:
    """The plan that `plan_text` wrote. ValueError names the item that is none."""
    plan = []
    for item in text.split():
        try:
            after, kind, *rest = item.split(":")
            if kind not in ("data", "commit", "syncfs") or len(rest) not in (0, 3):
                raise ValueError(item)
            path, offset, length = rest or ("", "0", "0")
            plan.append(WriteBack(int(after), kind, path, int(offset), int(length)))  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(
                f"{item!r} is no early write; expected after:commit, after:syncfs or "
                "after:data:path:offset:length."
            ) from error
    return tuple(plan)


def default_plan(ops: Sequence[Op]) -> tuple[WriteBack, ...]:
    """A plan that writes back about every second op, in turn: half a file, a commit, a file.

    Only files that this program wrote and did not sync since are chosen, the oldest first, so
    that younger data lands before older names and the other way round.
    """
    plan: list[WriteBack] = []
    dirty: dict[str, int] = {}
    turn = 0
    for index, op in enumerate(ops):
        _follow(op, dirty)
        if index % 2 == 0 or isinstance(op, Mark):
            continue
        if turn % 3 == 1:
            plan.append(WriteBack(index, "commit"))
        elif dirty:
            path, size = next(iter(dirty.items()))
            if turn % 3 == 0 and size > 1:
                plan.append(WriteBack(index, "data", path, 0, size // 2))
            else:
                plan.append(WriteBack(index, "data", path))
                del dirty[path]
        turn += 1
    return tuple(plan)


def drawn_plan(ops: Sequence[Op], number: int) -> tuple[WriteBack, ...]:
    """Plan `number` for these ops: 0 is the default plan, 1 writes nothing early, others are drawn.

    A drawn plan has a pace of its own; at that pace it writes a file's data, whole or in part,
    commits, or (seldom) writes everything.  The same ops and number give the same plan.
    """
    if number == 0:
        return default_plan(ops)
    if number == 1:
        return ()
    dice = random.Random(f"powercut-rig plan {number}")  # noqa: S311 - drawn the same each time
    pace = dice.choice(_PACES)
    plan: list[WriteBack] = []
    dirty: dict[str, int] = {}
    for index, op in enumerate(ops):
        _follow(op, dirty)
        while not isinstance(op, Mark) and dice.random() < pace:
            plan.append(_draw(dice, index, dirty))
            if dice.random() < 0.5:
                break
    return tuple(plan)


def stepped_plans(ops: Sequence[Op]) -> tuple[tuple[WriteBack, ...], ...]:
    """Plans that write early at one moment each, all that can be: for programs that are small.

    After each op: a commit; the data of each unsynced file; both, in that order; and of a file of
    several pages the first alone.  The last plan commits after every op.
    """
    plans: list[tuple[WriteBack, ...]] = []
    dirty: dict[str, int] = {}
    for index, op in enumerate(ops):
        _follow(op, dirty)
        commit = WriteBack(index, "commit")
        plans.append((commit,))
        for path, size in sorted(dirty.items()):
            data = WriteBack(index, "data", path)
            plans += [(data,), (data, commit)]
            if size > _PAGE_BYTES:
                plans.append((WriteBack(index, "data", path, 0, _PAGE_BYTES), commit))
    plans.append(tuple(WriteBack(index, "commit") for index in range(len(ops))))
    return tuple(plans)


def stepped_plan(ops: Sequence[Op], number: int) -> tuple[WriteBack, ...]:
    """One of `stepped_plans`; IndexError where there are fewer."""
    return stepped_plans(ops)[number]


def _draw(dice: random.Random, index: int, dirty: dict[str, int]) -> WriteBack:
    """One early write after the op at `index`."""
    chance = dice.random()
    if not dirty or chance < 0.35:
        kind: Literal["commit", "syncfs"] = "syncfs" if chance < 0.03 else "commit"
        return WriteBack(index, kind)
    path = dice.choice(sorted(dirty))
    pages = -(-dirty[path] // _PAGE_BYTES)
    if pages < 2 or dice.random() < 0.4:
        return WriteBack(index, "data", path)
    first = dice.randrange(pages)
    count = dice.randint(1, pages - first)
    return WriteBack(index, "data", path, first * _PAGE_BYTES, count * _PAGE_BYTES)


def _follow(op: Op, dirty: dict[str, int]) -> None:
    """Keep `dirty`, unsynced files with their sizes in bytes, true across `op`.

    A file that is written through a handle or a mapping is known by the path of the op, a handle
    as "@h"; what a symbolic link would lead to is not followed.
    """
    match _plainly(op):
        case Write(path=path, offset=offset, data=data):
            dirty[path] = max(dirty.get(path, 0), offset + len(data))
        case Append(path=path, data=data):
            dirty[path] = dirty.get(path, 0) + len(data)
        case Fsync(path=path) | Fdatasync(path=path) | Unlink(path=path):
            dirty.pop(path, None)
        case Barrier(path=path) | Fullsync(path=path):
            dirty.pop(path, None)
        case Close(handle=handle):
            dirty.pop(f"@{handle}", None)
        case Rename(src=src, dst=dst, flags=flags):
            _rename(dirty, src, dst, exchange="EXCHANGE" in flags)
        case Sync():
            dirty.clear()
        case _:
            pass


def _plainly(op: Op) -> Op:
    """The op with each path in its shortest spelling."""
    paths = {name: getattr(op, name, "") for name in ("path", "src", "dst")}
    short = {
        name: "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
        for name, path in paths.items()
        if path.startswith("/")
    }
    return cast("Op", evolve(cast("Any", op), **short))


def _rename(dirty: dict[str, int], src: str, dst: str, *, exchange: bool) -> None:
    """The same files under their new names."""
    before = dict(dirty)
    dirty.clear()
    for path, size in before.items():
        if path == src or path.startswith(src + "/"):
            dirty[dst + path[len(src) :]] = size
        elif path != dst and not path.startswith(dst + "/"):
            dirty[path] = size
        elif exchange:
            dirty[src + path[len(dst) :]] = size
