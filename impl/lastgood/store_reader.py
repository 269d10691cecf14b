"""The half of a store that only looks: load, list, verify."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from lastgood.arguments import as_integer
from lastgood.backends.call_guard import CallGuard
from lastgood.backends.interface import Disk, DiskReader
from lastgood.errors import IntegrityError, UsageError
from lastgood.events import Announcer
from lastgood.format.features import require_judged
from lastgood.format.names import GroupName, newest_first
from lastgood.parts.holding_reader import HOLDS, Hold, HoldingReader
from lastgood.parts.thread_pool import ParallelMap
from lastgood.protocol.strength import require_choice
from lastgood.recovery.changing_store import (
    groups_now,
    newest_at_a_glance_now,
    newest_valid_now,
)
from lastgood.recovery.listing import list_entries, list_quarantine
from lastgood.recovery.loaded import Loaded, Opened
from lastgood.recovery.partial_load import examine_manifest
from lastgood.recovery.quarantine import examine_quarantine, read_report
from lastgood.recovery.quarantine_report import QuarantineReport
from lastgood.recovery.quarantine_usage import QuarantineUsage, measure_quarantine
from lastgood.recovery.recovery import (
    NO_COMMIT,
    Examine,
    Group,
    Rejection,
    Scan,
    examine,
    examine_all,
    integrity_error,
    read_group,
)
from lastgood.recovery.unread import not_permitted_error, nothing_left_error

_Handed = TypeVar("_Handed", Loaded, Opened)


def _number(what: str, value: int | None) -> int | None:
    """The number that a group is asked for by, or None. UsageError."""
    return None if value is None else as_integer(what, value)


def _newer(group: Group, scan: Scan) -> tuple[Rejection, ...]:
    """What was passed over: a dead attempt that is older was in nobody's way."""
    return tuple(each for each in scan.rejected if each.generation > group.name.generation)


def _told(scan: Scan, moved: Iterable[str] = ()) -> Iterator[Rejection]:
    """What somebody hears of: it was passed over, or moved."""
    newest, names = -1 if scan.group is None else scan.group.name.generation, frozenset(moved)
    return (each for each in scan.rejected if each.generation > newest or each.name in names)


class StoreReader:
    """A directory of groups, to look at. `Store` adds what changes it."""

    def __init__(self, disk: Disk, path: str, parallel_map: ParallelMap, events: Announcer) -> None:
        self._disk, self._path, self._parallel_map, self._events = disk, path, parallel_map, events
        self._guard = CallGuard(f"store {path!r}")
        self._restored: int | None = None
        self._handed: list[weakref.ref[Loaded | Opened]] = []
        self._unread: set[int] = set()

    @property
    def path(self) -> Path:
        """The store's directory, absolute and without symlinks."""
        return Path(self._path)

    def load_latest(self, *, hold: Hold = "nothing") -> Loaded | None:
        """The newest valid group, verified in full now; None where there is none.

        Falls back past whatever is damaged, in this call, and says why in `Loaded.rejected` and
        in the log "lastgood". As the lease holder it first makes the group durable again, then
        deletes dead attempts and moves what is damaged to quarantine; what cannot be read stays
        where it is. Read-only, closed, in a forked child or after a failed sync it changes nothing.
        Retention keeps the group until another one is loaded, and for as long as the answer is
        referred to.

        `hold` says what becomes of the bytes that were verified: with "memory" or "map" the parts
        are read or mapped once, and exactly what was verified is handed out. (A map is for stores
        that nobody truncates meanwhile.) UsageError where it says something else. StorageError
        where nothing is valid and something cannot be read, or where this user may not read a
        group and nothing newer is valid. NewerFormatError where a newer version has written what
        would be passed over: it may be the newest that was acknowledged, so nothing is changed and
        nothing older is loaded.
        """
        holding = self._holding(hold)
        with self._guard.enter("load_latest"):
            scan, moved = self._scan(holding)
        self._tell_rejected(_told(scan, moved))
        self._tell_cleared()
        if scan.group is None:
            self._require_all_read(scan.rejected)
            return None
        return self._handed_out(scan.group, scan, holding)

    def load(
        self,
        step: int | None = None,
        *,
        generation: int | None = None,
        hold: Hold = "nothing",
    ) -> Loaded:
        """Exactly the group asked for, verified in full; never another one in its place.

        Without step and generation, the newest valid group, as `load_latest`. Of several groups of
        one step it is the newest that was saved to its end. UsageError where there is none;
        IntegrityError where it is damaged; NewerFormatError where a newer version has written it;
        StorageError. Nothing is changed on disk where a group is asked for.
        """
        if step is not None and generation is not None:
            raise UsageError("load() takes either step= or generation=. Nothing was changed.")
        step, generation = _number("step", step), _number("generation", generation)
        self._holding(hold)
        if step is None and generation is None:
            newest = self.load_latest(hold=hold)
            if newest is None:
                raise UsageError(f"store {self._path!r} has no valid group to load.")
            return newest
        holding = self._holding(hold)
        group = self._asked(step, generation, holding or self._disk, examine)
        return self._handed_out(group, Scan(group, ()), holding)

    def open_group(
        self,
        step: int | None = None,
        *,
        generation: int | None = None,
        older_than: int | None = None,
        parts: Collection[str] = (),
        hold: Hold = "nothing",
    ) -> Opened | None:
        """The newest group whose manifest is intact and whose parts have their sizes.

        No part is read but those named in `parts`, which are verified in full (and held, as `hold`
        says); of the others every read verifies what it hands out. So this is weaker than a load:
        a group is chosen before its bytes are checked, what is damaged in it shows when it is read
        and not before, and nothing falls back by itself then (`load_latest` does, or another
        `open_group` with `older_than`, a generation). Falls back past groups whose manifest, sizes
        or named parts are damaged, as `load_latest`; None where there is none. With a step or a
        generation, exactly that group, as `load`.

        Nothing is changed on disk, by the holder of the lease as well: nothing is synced, so a
        group that a killed process left may still go with a power cut, and nothing is moved aside.
        Retention keeps the group as after a load. UsageError where a name is no part of the group;
        IntegrityError where what was asked for is damaged; NewerFormatError as a load;
        StorageError.
        """
        named = self._named_parts(parts)
        step, generation = _number("step", step), _number("generation", generation)
        older_than = _number("older_than", older_than)
        is_asked = step is not None or generation is not None
        if (step is not None) + (generation is not None) + (older_than is not None) > 1:
            raise UsageError(
                "open_group() takes one of step=, generation= and older_than=. Nothing was changed."
            )
        holding = self._holding(hold)
        reader, examination = holding or self._disk, partial(examine_manifest, only=named)
        if is_asked:
            group = self._asked(step, generation, reader, examination)
            return self._opened(Scan(group, ()), group, named, holding)
        scan = newest_valid_now(
            reader,
            self._path,
            self._hidden(),
            parallel_map=self._parallel_map,
            examination=examination,
            older_than=older_than,
        )
        self._tell_rejected(_told(scan))
        if scan.group is None:
            self._require_all_read(scan.rejected)
            return None
        return self._opened(scan, scan.group, named, holding)

    def restore(self, step: int | None = None) -> Loaded:
        """The newest valid group, or exactly that of a step, with all its parts in memory.

        As `load`, with what was verified held: `restored["model.safetensors"]` reads nothing more.
        """
        return self.load(step, hold="memory")

    def latest_step(self) -> int | None:
        """The step of the newest group with an intact manifest; None for none. No part is read.

        A load may still fall back past it: only a load verifies. StorageError where there is none
        and a manifest cannot be read, or where this user may not read it and none newer is intact.
        NewerFormatError where a newer version has written the newest that can be read.
        """
        newest, rejected = newest_at_a_glance_now(self._disk, self._path, self._hidden())
        if newest is None:
            self._require_all_read(rejected)
        return None if newest is None else newest.name.step

    def all_steps(self) -> list[int]:
        """The steps of all groups with an intact manifest, ascending, each once.

        Groups that a newer version has written are left out: `verify` lists them.
        """
        return sorted({group.name.step for group in self.groups()})

    def groups(self) -> tuple[Group, ...]:
        """Every group with an intact manifest, newest first; the parts are not looked at.

        Groups that a newer version has written are left out: `verify` lists them.
        """
        return groups_now(self._disk, self._path, self._hidden())

    def verify(self) -> tuple[Group | Rejection, ...]:
        """Every group and attempt, newest first, each verified in full. Changes nothing.

        `Rejection.damaged` has all that is damaged of a group: which chunks, or which parts.

        An attempt, and a group without a MANIFEST, may be a save that is still going on. A
        group that a newer version has written is a `Rejection` whose reason is `newer_format:` and
        what is needed to read it: that is no damage.
        """
        found = tuple(examine_all(self._disk, self._path, parallel_map=self._parallel_map))
        self._note_unread(each for each in found if isinstance(each, Rejection))
        return found

    def quarantined(self) -> dict[str, Group | Rejection]:
        """The entries of the quarantine by name, each verified anew: a group, or why it is none.

        Changes nothing. `quarantine_usage` has their sizes; `purge` deletes. StorageError.
        """
        aside = examine_quarantine(self._disk, self._path, parallel_map=self._parallel_map)
        return {entry: answer for entry, _, answer in aside}

    def quarantine_usage(self) -> QuarantineUsage:
        """The room that the quarantine takes, by entry. UsageError where it is none; StorageError.

        Changes nothing.
        """
        return measure_quarantine(self._disk, self._path)

    def reports(self) -> dict[str, QuarantineReport]:
        """The reports on the entries of the quarantine, by entry: see `QuarantineReport`.

        What has no report, or none that can be read, is left out: a crash may have taken it, and
        versions before this one wrote none. Changes nothing. StorageError.
        """
        names = [entry for entry, _ in list_quarantine(self._disk, self._path)]
        read = {entry: read_report(self._disk, self._path, entry) for entry in names}
        return {
            entry: report for entry, report in read.items() if isinstance(report, QuarantineReport)
        }

    def _tell_cleared(self) -> None:
        """Tell of what was moved aside or deleted: nothing was."""

    def _scan(self, holding: HoldingReader | None) -> tuple[Scan, list[str]]:
        """The newest valid group, by looking only, and the names of what was moved aside: none."""
        reader = holding or self._disk
        return newest_valid_now(
            reader, self._path, self._hidden(), parallel_map=self._parallel_map
        ), []

    def _handed_out(self, group: Group, scan: Scan, holding: HoldingReader | None) -> Loaded:
        held = {} if holding is None else holding.held
        newer = _newer(group, scan)
        loaded = Loaded(group, newer, self._disk, held, self._parallel_map)
        return self._noted(loaded, f"was loaded, {len(newer)} newer were passed over")

    def _opened(
        self, scan: Scan, group: Group, named: frozenset[str], holding: HoldingReader | None
    ) -> Opened:
        held = {} if holding is None else holding.held
        newer = _newer(group, scan)
        opened = Opened(group, newer, self._disk, held, self._parallel_map, verified=named)
        return self._noted(opened, f"was opened, {len(named)} of its parts verified")

    def _noted(self, handed: _Handed, what: str) -> _Handed:
        """The same, told of; retention keeps its group for as long as somebody refers to it."""
        name = handed.group.name
        self._restored = name.generation
        self._events.tell("loaded", f"{name} {what}", name=str(name), step=name.step)
        self._handed = [each for each in self._handed if each() is not None]
        self._handed.append(weakref.ref(handed))
        return handed

    def _note_unread(self, rejected: Iterable[Rejection]) -> None:
        """Note what could not be read: no policy of this store gives it up."""
        self._unread |= {each.generation for each in rejected if each.is_unread}

    def _require_all_read(self, rejected: Iterable[Rejection]) -> None:
        """StorageError where something could not be read: None would say that nothing is there."""
        unread = [(each.name, each.detail) for each in rejected if each.is_unread]
        if unread:
            raise nothing_left_error(self._path, unread)

    def _tell_rejected(self, rejected: Iterable[Rejection]) -> None:
        rejected = tuple(rejected)
        self._note_unread(rejected)
        for each in rejected:
            message = f"{each.name} was rejected ({each.reason}): {each.detail}"
            self._events.tell("rejected", message, name=each.name, reason=each.reason)

    def _asked(
        self, step: int | None, generation: int | None, reader: DiskReader, examination: Examine
    ) -> Group:
        """Exactly the group asked for. UsageError; IntegrityError; StorageError."""
        what = f"step {step}" if generation is None else f"generation {generation}"
        unfinished: Rejection | None = None
        for name in self._names():
            if name.attempt or (name.step != step and name.generation != generation):
                continue
            answer = examination(reader, self._path, name, parallel_map=self._parallel_map)
            if isinstance(answer, Group):
                return answer
            self._note_unread([answer])
            if answer.is_forbidden:
                raise not_permitted_error(answer.name, answer.detail)
            require_judged(answer.name, answer.reason)
            if answer.reason != NO_COMMIT:
                raise self._damaged_error(answer, name, step)
            # A save that did not end was never acknowledged: it stands for no group.
            unfinished = unfinished or answer
        if unfinished is not None:
            raise integrity_error(unfinished)
        raise UsageError(f"store {self._path!r} has no group of {what}. Nothing was changed.")

    def _damaged_error(
        self, rejection: Rejection, name: GroupName, step: int | None
    ) -> IntegrityError:
        """The error for a group that was asked for; it names an older one of the same step."""
        error = integrity_error(rejection)
        older = [
            each
            for each in self._names()
            if each.step == step and not each.attempt and each.generation < name.generation
        ]
        for each in older:
            if isinstance(read_group(self._disk, self._path, each), Group):
                more = (
                    f"An older group of step {step} is there and was not verified: "
                    f"load(generation={each.generation})."
                )
                return IntegrityError(f"{error} {more}", error.reason, error.group, error.damaged)
        return error

    @staticmethod
    def _named_parts(parts: Collection[str]) -> frozenset[str]:
        is_several = isinstance(parts, Iterable) and not isinstance(parts, str)
        if not is_several or not all(isinstance(part, str) for part in parts):
            raise UsageError(
                f"parts is {parts!r}, expected paths of parts, such as ('model.safetensors',). "
                "Nothing was changed."
            )
        return frozenset(parts)

    def _protected(self) -> frozenset[int]:
        """The generations that retention keeps for those who loaded them.

        The last one, whoever let go of it: a run often takes what it needs and forgets the rest.
        An earlier one for as long as somebody may still read from it.
        """
        last = set() if self._restored is None else {self._restored}
        alive = (each() for each in self._handed)
        return frozenset(last | {each.generation for each in alive if each is not None})

    def _holding(self, hold: Hold) -> HoldingReader | None:
        require_choice("hold", hold, HOLDS)
        return None if hold == "nothing" else HoldingReader(self._disk, hold)

    def _hidden(self) -> GroupName | None:
        """A group that a failed sync has left, whole as it may look."""
        return None

    def _names(self) -> list[GroupName]:
        """The groups and attempts of the store, newest first, but for one left by a failed sync."""
        names = newest_first(list_entries(self._disk, self._path))
        return [name for name in names if name != self._hidden()]
