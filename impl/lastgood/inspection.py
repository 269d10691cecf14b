"""What the command line says about a store, as data. Looks only; never changes anything."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen

from lastgood.aside import has_quarantine
from lastgood.damage import Damaged, said
from lastgood.disk import Reader, join
from lastgood.errors import UsageError
from lastgood.layout import (
    LOCK,
    MANIFEST,
    QUARANTINE,
    GroupName,
    given_up,
    newest_first,
    parse_name,
)
from lastgood.opening import require_store
from lastgood.ranges import look_at_shape
from lastgood.recovery import (
    GONE,
    Group,
    Rejection,
    examine,
    examine_aside,
    list_store,
    newest_valid_now,
    read_group,
    storage_error,
)
from lastgood.surveying import Each

OK: Final = 0
DAMAGED: Final = 1
MALFORMED: Final = 2

NO_DAMAGE: Final = ("valid", "listed", "attempt", GONE)
_MALFORMED: Final = ("manifest_error:", "unsafe_path:", "not_regular:")


@frozen
class Row:
    """One group and what was found: "valid", "listed" (not verified), or the rejection's reason.

    `damaged` are ranges known to be damaged, all of them after a `verify`; `chunk_bytes` is the
    size of its chunks, None where it has none.
    """

    name: str
    path: str
    generation: int
    step: int
    verdict: str
    detail: str
    size_bytes: int
    parts: int
    chunk_bytes: int | None = None
    damaged: tuple[Damaged, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The row as JSON can say it."""
        return {
            "name": self.name,
            "path": self.path,
            "generation": self.generation,
            "step": self.step,
            "verdict": self.verdict,
            "detail": self.detail,
            "size_bytes": self.size_bytes,
            "parts": self.parts,
            "chunk_bytes": self.chunk_bytes,
            "damaged": [each.as_json() for each in self.damaged],
        }


@frozen
class Report:
    """Rows, newest first, and the exit status that they deserve."""

    store: str
    rows: tuple[Row, ...]
    exit_status: int

    def as_json(self) -> dict[str, Any]:
        """The report as JSON can say it."""
        return {"store": self.store, "groups": [row.as_json() for row in self.rows]}


def listed(reader: Reader, store: str) -> Report:
    """Every group by its manifest and the kinds of its entries; no part is read."""
    rows = [
        _row(store, name, _at_a_glance(reader, store, name), "listed")
        for name in _names(reader, store)
    ]
    return Report(store, tuple(rows), status_of([row.verdict for row in rows]))


def verified(reader: Reader, store: str, generation: int | None, *, each: Each = map) -> Report:
    """Every group, or those of one generation, verified in full: all that is damaged."""
    rows = []
    for name in _chosen(reader, store, generation):
        row = _row(store, name, examine(reader, store, name, each=each, surveys=True), "valid")
        if row.damaged:
            row = evolve(row, detail=f"{row.detail}; {said(row.damaged)}")
        rows.append(row)
    return Report(store, tuple(rows), status_of([row.verdict for row in rows]))


def latest(reader: Reader, store: str, generation: int | None, *, each: Each = map) -> Report:
    """The newest valid group (or the one asked for) as the last row, rejected ones before it.

    The status is 0 where there is one, whatever was rejected on the way.
    """
    if generation is None:
        # Where its writer prunes meanwhile, what it left is listed and looked at again.
        _names(reader, store)
        scan = newest_valid_now(reader, store, each=each)
        rejected, good = scan.rejected, scan.group
    else:
        names = [name for name in _chosen(reader, store, generation) if not name.attempt]
        answers = [examine(reader, store, name, each=each) for name in names]
        rejected = tuple(answer for answer in answers if isinstance(answer, Rejection))
        good = next((answer for answer in answers if isinstance(answer, Group)), None)
    rows = [
        _row(store, name, answer, "valid")
        for answer in rejected
        if (name := parse_name(answer.name)) is not None and not name.attempt
    ]
    if good is not None:
        rows.append(_row(store, good.name, good, "valid"))
        return Report(store, tuple(rows), OK)
    return Report(store, tuple(rows), nothing_valid([row.verdict for row in rows]))


def quarantined(reader: Reader, store: str, *, each: Each = map) -> Report:
    """Everything in quarantine, verified anew: why each of it was rejected. The status is 0.

    What is valid there was moved by somebody else, or was never acknowledged.
    """
    _names(reader, store)
    require_quarantine(reader, store)
    folder = join(store, QUARANTINE)
    rows = [
        _row(folder, name, answer, "valid", entry)
        for entry, name, answer in examine_aside(reader, store, each=each)
    ]
    return Report(store, tuple(rows), OK)


def require_quarantine(reader: Reader, store: str) -> None:
    """UsageError where something else has the name of the quarantine; StorageError."""
    try:
        has_quarantine(reader, store)
    except OSError as error:
        raise storage_error(f"looking at {join(store, QUARANTINE)!r}", error) from error


def moved_aside(reader: Reader, store: str, before: Collection[str]) -> list[Rejection]:
    """What the lease holder has moved to quarantine since it had the entries `before`, and why."""
    folder, moved = join(store, QUARANTINE), []
    for entry in list_store(reader, store).in_quarantine:
        name = parse_name(entry, in_quarantine=True)
        if entry not in before and name is not None:
            answer = examine(reader, folder, name, entry=entry)
            if isinstance(answer, Group):
                answer = Rejection(entry, name.generation, "valid", "it is intact now")
            moved.append(answer)
    return sorted(moved, key=lambda each: -each.generation)


def would_move_aside(reader: Reader, store: str, newest: int) -> list[Rejection]:
    """What a prune would move to quarantine where `newest` is the newest valid generation."""
    names = [name for name in _names(reader, store) if name.attempt or name.generation > newest]
    answers = [examine(reader, store, name) for name in names]
    return [a for a in answers if isinstance(a, Rejection) and a.reason != GONE]


def one_group(reader: Reader, store: str, generation: int) -> Group | Rejection:
    """The group of a generation, its manifest read and no part. UsageError where none is there."""
    names = [name for name in _chosen(reader, store, generation) if not name.attempt]
    if not names:
        raise UsageError(f"{store!r} has no group of generation {generation}.")
    return read_group(reader, store, names[0])


def nothing_valid(verdicts: list[str]) -> int:
    """The status where nothing is loadable: 2 where any of it is malformed, else 1."""
    return status_of(verdicts) or DAMAGED


def status_of(verdicts: list[str]) -> int:
    """0 where all is valid, 2 where any group is malformed, 1 for any other damage.

    A dead attempt of the rename form is no damage: nothing was ever claimed of it.
    """
    bad = [verdict for verdict in verdicts if verdict not in NO_DAMAGE]
    if not bad:
        return OK
    return MALFORMED if any(verdict.startswith(_MALFORMED) for verdict in bad) else DAMAGED


def _at_a_glance(reader: Reader, store: str, name: GroupName) -> Group | Rejection:
    if name.attempt:
        return Rejection(str(name), name.generation, "attempt", "a save that did not end")
    group = read_group(reader, store, name)
    if isinstance(group, Rejection):
        return group
    return look_at_shape(reader, group) or group


def _names(reader: Reader, store: str) -> list[GroupName]:
    require_store(reader, store)
    entries = list_store(reader, store).in_store
    names = newest_first(entries)
    if not names and not given_up(entries) and not {LOCK, QUARANTINE} & {*entries}:
        looks_like_a_group = MANIFEST in entries
        raise UsageError(
            f"{store!r}: found a directory with neither a group nor {LOCK!r}, expected a store. "
            "Nothing was changed."
            + " It looks like a group: name the directory that it is in."
            * looks_like_a_group
        )
    return names


def _chosen(reader: Reader, store: str, generation: int | None) -> list[GroupName]:
    names = _names(reader, store)
    if generation is None:
        return names
    chosen = [name for name in names if name.generation == generation]
    if not chosen:
        raise UsageError(f"{store!r} has no group of generation {generation}.")
    return chosen


def _row(store: str, name: GroupName, answer: Group | Rejection, word: str, entry: str = "") -> Row:
    entry = entry or str(name)
    path = str(Path(store) / entry)
    if isinstance(answer, Rejection):
        numbers = name.generation, name.step
        return Row(
            entry, path, *numbers, answer.reason, answer.detail, 0, 0, damaged=answer.damaged
        )
    manifest = answer.manifest
    return Row(
        entry,
        path,
        name.generation,
        name.step,
        word,
        "",
        answer.size_bytes,
        len(manifest.parts),
        None if manifest.chunking is None else manifest.chunking.chunk_bytes,
    )
