"""What is owed to a quarantine, said from looks at the disk and from no code of the library's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from lastgood import Store
from lastgood.errors import UsageError
from lastgood.format.names import GroupName
from lastgood.recovery.quarantine_report import REPORT_SUFFIX
from lastgood.recovery.quarantine_usage import QuarantineEntry
from tests.fuzz.watching import photograph

Below = dict[str, tuple[Any, ...]]
"""Kind, size, inode and bytes of all that is below an entry, and at "" of the entry itself."""
NO_ENTRIES: Final = ("gen-00000099-step-00000099", "../gen-00000007-step-00000007", "theirs", ".")
"""Names that no purge takes for an entry: what is not there, and what is none of the library's."""


class Aside:
    """All that is in the quarantine of a store, by the name that it has there, and the `rest`."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.rest: dict[bytes, tuple[Any, ...]] = {}
        self.tops: dict[str, Below] = {}
        folder = os.fsencode(store / "quarantine")
        for path, one in photograph(store).items():
            if path.startswith(folder + b"/"):
                name, _, below = os.fsdecode(path[len(folder) + 1 :]).partition("/")
                kind, size, inode, _, data = one
                self.tops.setdefault(name, {})[below] = (kind, size, inode, data)
            elif path != folder:
                self.rest[path] = one

    @property
    def entries(self) -> set[str]:
        """What has a group's name, or only a report on it is there."""
        return {entry_of(name) for name in self.tops if "gen-" in name}

    @property
    def uncommitted(self) -> set[str]:
        """The directories that have no MANIFEST."""
        return {
            entry
            for entry in self.entries
            if stat.S_ISDIR(self.tops.get(entry, {"": (0,)})[""][0])
            if "MANIFEST" not in self.tops[entry]
        }

    def has_folder_as_report(self, entry: str) -> bool:
        """Say whether a directory has the name of the report on an entry."""
        return stat.S_ISDIR(self.tops.get(entry + REPORT_SUFFIX, {"": (0,)})[""][0])


def entry_of(name: str) -> str:
    """The entry that a name in quarantine is one of, or is the report on."""
    return name.removesuffix(REPORT_SUFFIX)


def name_of(entry: str) -> GroupName:
    """The name that an entry of the quarantine had in the store."""
    words = entry.partition(".")[0].split("-")
    return GroupName(int(words[-3]), int(words[-1]), attempt=words[0] == "attempt")


def newest_of(entries: Iterable[str]) -> int:
    """The newest generation of those entries; 0 where there is none."""
    return max((name_of(entry).generation for entry in entries), default=0)


def require_newest_only(before: Aside, after: Aside) -> set[str]:
    """The entries that a writer deleted between two looks, in which it purged nothing.

    It may delete what has no MANIFEST and is older than another of that kind, and what lies there;
    it does so where one of that kind came.
    """
    newest = newest_of(after.uncommitted)
    gone = before.uncommitted - after.tops.keys()
    assert newest_of(gone) < newest or not gone, "the newest without a MANIFEST is not kept"
    for name, below in before.tops.items():
        if entry_of(name) not in gone:
            assert after.tops.get(name) == below, f"touched in quarantine: {name}"
    if after.uncommitted - before.uncommitted:
        left = {name_of(entry).generation for entry in after.uncommitted}
        assert left == {newest}, "an older one without a MANIFEST is kept"
    return gone


def require_purge(
    store: Store, root: Path, asked: Mapping[str, Any], ages: Mapping[str, float | None]
) -> set[str]:
    """The entries that a purge deletes: a dry one first, which says the same and changes nothing.

    `ages` are those of all entries in seconds, None where no report tells it.
    """
    before = Aside(root)
    assert before.entries == ages.keys()
    beside = {e for e in ages if e in before.tops and str(name_of(e)) in os.listdir(root)}
    least, ageless = asked.get("older_than_s"), set[str]()
    wanted = set(ages if asked.get("entries") == "all" else asked.get("entries", ()))
    if least is not None:
        wanted = {entry for entry, age in ages.items() if age is not None and age >= least}
        ageless = {entry for entry, age in ages.items() if age is None}
    # Nothing is deleted of what has a directory in the place of its report.
    stays = {entry for entry in wanted if before.has_folder_as_report(entry)}
    going = wanted - beside - stays
    used = sum(_used_bytes(root / "quarantine" / name) for name in _names_of(going))
    photographed = photograph(root)
    _require_refused(store, [*ages, NO_ENTRIES[len(going) % len(NO_ENTRIES)]])
    planned = store.purge(**asked, dry_run=True)
    assert photograph(root) == photographed, (
        "a dry purge, or one that was refused, changes something"
    )
    assert _said(planned.deleted) == going, "a dry purge says another thing"
    assert planned.freed_bytes == used
    done = store.purge(**asked)
    after = Aside(root)
    assert _said(done.deleted) == going, "not what was asked for"
    assert _said(done.of_unknown_age) == _said(planned.of_unknown_age) == ageless
    stuck = (wanted & beside) | stays
    assert {each.name for each in done.stuck} == {f"quarantine/{entry}" for entry in stuck}
    assert after.rest == before.rest, "a purge touched what is not in quarantine"
    gone = set(_names_of(going))
    left = {name: below for name, below in before.tops.items() if name not in gone}
    assert after.tops == left, "a purge left what it was to delete, or touched another thing"
    return going


def _require_refused(store: Store, names: list[str]) -> None:
    try:
        store.purge(names)
    except UsageError:
        return
    raise AssertionError(f"purged for no entry: {names}")


def _said(entries: Iterable[QuarantineEntry]) -> set[str]:
    return {each.entry for each in entries}


def _names_of(entries: Iterable[str]) -> list[str]:
    return [name for entry in entries for name in (entry, entry + REPORT_SUFFIX)]


def _used_bytes(path: Path) -> int:
    return sum((at := os.lstat(each)).st_blocks * 512 or at.st_size for each in _walk(path))


def _walk(path: Path) -> Iterable[Path]:
    """An entry and all below it, without what links lead to; nothing where it is missing."""
    if os.path.lexists(path):
        yield path
    if path.is_dir() and not path.is_symlink():
        for each in path.iterdir():
            yield from _walk(each)


def used_by_reports(root: Path) -> dict[str, int]:
    """The bytes that the report on each entry takes."""
    folder = root / "quarantine"
    return {entry: _used_bytes(folder / (entry + REPORT_SUFFIX)) for entry in Aside(root).entries}
