"""Disputed points: where those who published contradict each other, or a disk contradicts them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Final

from attrs import frozen

from powercut.errors import CaseError
from powercut.filesystem import ops
from powercut.published.cases import PublishedCase
from powercut.strict_reader import StrictReader

READ: Final = StrictReader(CaseError)


@frozen
class Disputed:
    """A point on which sources conflict: which rows it is about, and why it is not gated on.

    `does` names what a case does, one of DOES, so that a case nobody has seen yet is covered as
    well; `cases` are ids, for a point that no such description fits.  An empty field asks nothing.
    """

    point: str
    reason: str
    profiles: tuple[str, ...]
    families: tuple[str, ...]
    cases: tuple[str, ...]
    does: str

    def covers(self, case: PublishedCase, profile: str) -> bool:
        """The row of that case and that profile is about this point."""
        return (
            (not self.profiles or profile in self.profiles)
            and (not self.families or case.family in self.families)
            and (not self.cases or case.id in self.cases)
            and (not self.does or DOES[self.does](case))
        )


_NAME_OPS = (ops.Create, ops.Mkdir, ops.Rmdir, ops.Link, ops.Unlink, ops.Rename, ops.Symlink)
_SYNCS = (ops.Fsync, ops.Fdatasync, ops.Fullsync, ops.Barrier, ops.Msync, ops.Sync)
_WRITES = (ops.Write, ops.Append, ops.Mapwrite)


def _changes_names_only(case: PublishedCase) -> bool:
    """The ops under test change names and nothing else."""
    return all(isinstance(op, _NAME_OPS) for op in case.program)


def _changes_names_of_two_directories(case: PublishedCase) -> bool:
    """The ops under test change names and nothing else, in more than one directory."""
    paths = (getattr(op, key, "") for op in case.program for key in ("path", "src", "dst"))
    return _changes_names_only(case) and len({_parent(path) for path in paths if path}) > 1


def _replaces_without_sync(case: PublishedCase) -> bool:
    """A new file is written and renamed over one of the setup; nothing under test syncs."""
    if any(isinstance(op, _SYNCS) for op in case.program):
        return False
    held = {op.path for op in case.setup if isinstance(op, ops.Create)}
    made = {op.path for op in case.program if isinstance(op, ops.Create)}
    written = {op.path for op in case.program if isinstance(op, _WRITES)}
    renames = (op for op in case.program if isinstance(op, ops.Rename))
    return any(op.dst in held and op.src in made & written for op in renames)


def _syncs_below_renamed_directory(case: PublishedCase) -> bool:
    """A durable directory is renamed, and a file made in it since is synced: no other sync."""
    durable = {op.path for op in case.setup if isinstance(op, ops.Mkdir)}
    made: set[str] = set()
    renamed: set[str] = set()
    below: set[str] = set()
    for op in case.program:
        match op:
            case ops.Mkdir(path=path):
                made.add(path)
            case ops.Sync():
                durable |= made
                renamed, below = set(), set()
            case ops.Rename(src=src, dst=dst) if src in durable:
                renamed.add(dst)
            case ops.Create(path=path) if _parent(path) in renamed:
                below.add(path)
            case ops.Fsync(path=path) | ops.Fdatasync(path=path) if path in below:
                return True
            case _:
                pass
    return False


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


DOES: Final[Mapping[str, Callable[[PublishedCase], bool]]] = {
    "changes names only": _changes_names_only,
    "changes names of two directories": _changes_names_of_two_directories,
    "replaces without a sync": _replaces_without_sync,
    "syncs below a renamed directory": _syncs_below_renamed_directory,
}
"""What a case may do, by the words of disputes.toml."""


@cache
def disputed_points() -> tuple[Disputed, ...]:
    """The points of disputes.toml. CaseError where the file is malformed."""
    where = "disputes.toml"
    text = (resources.files("powercut.published") / where).read_text(encoding="utf-8")
    raw = tomllib.loads(text)
    READ.schema(raw, where)
    points = []
    for table in READ.typed(raw, "point", list, where):
        known = {"point", "reason", "profiles", "families", "cases", "does"}
        READ.keys(table, known, where)
        points.append(
            Disputed(
                READ.typed(table, "point", str, where),
                READ.typed(table, "reason", str, where),
                READ.strings(table, "profiles", where),
                READ.strings(table, "families", where),
                READ.strings(table, "cases", where),
                READ.one_of(table, "does", tuple(DOES), where) if "does" in table else "",
            )
        )
    return tuple(points)
