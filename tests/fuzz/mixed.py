"""A target on stores whose groups are good, damaged, newer, unfinished and unreadable, mixed.

The state of each group is known from how it was made. So what a load, a repair, a prune and a purge
owe is said here from docs/protocol.md alone, and not by the library's own judge.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from lastgood import LatestN, Store
from lastgood.errors import IntegrityError, NewerFormatError, StorageError
from lastgood.format.names import GroupName
from lastgood.recovery.recovery import Group, Rejection
from tests.fuzz.aside import Aside, newest_of, require_newest_only, require_purge
from tests.fuzz.kinds import (
    DAMAGED,
    GOOD,
    MACHINE,
    MOST,
    NEWER,
    REFUSED,
    UNREAD,
    Made,
    make_bystanders,
    make_group,
)
from tests.fuzz.stores import contents, nothing_lost, sandbox
from tests.fuzz.tape import Tape
from tests.fuzz.trees import Sandbox
from tests.fuzz.watching import WatchingDisk, photograph, watched
from tests.impl.disks import open_store

_STAY: Final = (NEWER, UNREAD, REFUSED, MACHINE)
_BEGAN_S: Final = 1_700_000_000
_TURN_S: Final = 10
"""So much later by the store's clock is each turn of a writer."""


def store_mixed(data: bytes) -> None:
    """Groups of every kind in one store: nothing intact, newer or unreadable is lost or moved."""
    tape = Tape(data)
    turns, keeps = tape.take(4), tape.byte() % 4
    with sandbox() as box:
        refused: dict[str, int] = {}
        made = [make_group(box, tape, n, refused) for n in range(1 + tape.byte() % MOST, 0, -1)]
        make_bystanders(box, tape)
        before = photograph(box.store.parent)
        with watched(box, may_change=False) as disk:
            disk.refused = refused
            _read(Store(str(box.store), writable=False, disk=disk, workers=1), made)
        assert photograph(box.store.parent) == before
        with watched(box, may_change=True) as disk:
            disk.refused = refused
            _write(disk, box, made, turns, keeps)


def choice(states: Iterable[tuple[GroupName, int]]) -> tuple[int | None, GroupName | None]:
    """What decides a load, of groups newest first, and its name; None and none where nothing does.

    UNREAD without a name: no group is valid, and one cannot be read.
    """
    is_unread = False
    for name, state in states:
        if state == UNREAD:
            is_unread = True
        elif state != DAMAGED:
            return state, name
    return (UNREAD if is_unread else None), None


def _outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or the documented error that it ends with."""
    try:
        return call()
    except (NewerFormatError, IntegrityError, StorageError) as error:
        return error


def _require_owed(found: Any, state: int | None, name: GroupName | None) -> GroupName | None:
    """The name of a good group that decides; AssertionError where another answer is owed."""
    if state == GOOD and name is not None:
        assert not isinstance(found, Exception | None), f"owed {name}, found {found!r}"
        return name
    if state == NEWER:
        is_owed = isinstance(found, NewerFormatError) and found.group == str(name)
    elif state is None:
        is_owed = found is None
    else:
        is_owed = isinstance(found, StorageError)
    assert is_owed, f"not what is owed for {name} in the state {state}: {found!r}"
    return None


def _read(reader: Store, made: list[Made]) -> None:
    """Every look of a reader."""
    found = _outcome(reader.load_latest)
    if name := _require_owed(found, *choice((each.name, each.state) for each in made)):
        assert found.generation == name.generation, "a load took another group"
    found = _outcome(reader.latest_step)
    if name := _require_owed(found, *choice((each.name, each.at_a_glance) for each in made)):
        assert found == name.step
    for each in made:
        found = _outcome(partial(reader.load, generation=each.name.generation))
        if each.state in (DAMAGED, UNREAD):
            assert isinstance(found, IntegrityError), f"{each}: {found!r}"
        else:
            _require_owed(found, each.state, each.name)
            assert each.state != GOOD or found.generation == each.name.generation
    _judged(_outcome(reader.verify), made)
    groups = _outcome(reader.groups)
    if any(each.at_a_glance == MACHINE for each in made):
        assert isinstance(groups, StorageError)
    else:
        known = [each.name for each in made if each.at_a_glance == GOOD]
        assert [group.name for group in groups] == known


def _judged(found: Any, made: list[Made]) -> None:
    """Verification: each group is called what it is, and nothing newer or unread is damage."""
    if any(each.state == MACHINE for each in made):
        assert isinstance(found, StorageError), found
        return
    answers = {str(one.name): one for one in found}
    for each in made:
        answer = answers[str(each.name)]
        assert isinstance(answer, Group) == (each.state == GOOD), answer
        if isinstance(answer, Rejection):
            kind = answer.reason.partition(":")[0]
            words = {NEWER: "newer_format", UNREAD: "unreadable", REFUSED: "not_permitted"}
            if each.state == DAMAGED:
                assert kind not in words.values(), answer
            else:
                assert kind == words[each.state], answer


class Writing:
    """A writer's store, and what must still be in it."""

    def __init__(self, box: Sandbox, made: list[Made], keeps: int) -> None:
        self._keeps = keeps
        self.made = list(made)
        self.may_go: set[bytes] = set()
        self.now_s = float(_BEGAN_S)
        self._box, self._seen = box, photograph(box.store)
        self._aside = Aside(box.store)
        self._since_s: dict[str, float] = {}
        self._loaded: GroupName | None = None
        self._noted: set[GroupName] = set()
        self._is_cleared = self._is_purged = False

    def now(self) -> float:
        """The store's Unix time."""
        return self.now_s

    def turn(self, store: Store, work: int) -> None:
        """One call, and what it owes."""
        self.store, before, aside = store, self._seen, self._aside
        self.now_s += _TURN_S
        self._is_cleared = self._is_purged = False
        calls = (self.load, self.repair, self.prune, self.save, self.verify, self.purge)
        allowed = calls[work % len(calls)](work // len(calls))
        self._seen = after = photograph(self._box.store)
        self._aside = Aside(self._box.store)
        root = os.fsencode(self._box.store)
        for each in list(self.made):
            home = os.path.join(root, str(each.name).encode())
            stays = each.state in _STAY or (each.state == GOOD and each.name not in allowed)
            if stays and each.name not in allowed:
                is_there = _below(before, home)
                assert _below(after, home).items() >= is_there.items(), f"touched: {each}"
            elif home not in after:
                self.made.remove(each)
                if each.lacks_manifest and not _has(self._aside, _below(before, home)):
                    newest = newest_of(self._aside.uncommitted)
                    assert each.name.generation < newest, f"deleted: {each}"
                    self.may_go.add(str(each.name).encode())
        self._require_attempts(before, after)
        if not self._is_purged:
            gone = require_newest_only(aside, self._aside)
            self.may_go |= {entry.partition(".")[0].encode() for entry in gone}
        came = self._aside.entries - aside.entries
        self._since_s |= dict.fromkeys(came, self.now_s)
        self.may_go |= {str(name).encode() for name in allowed}

    def _require_attempts(self, before: dict[bytes, Any], after: dict[bytes, Any]) -> None:
        """A dead attempt goes where the store was cleared, unless its group was there."""
        root = os.fsencode(self._box.store)
        for home in before:
            folder, name = os.path.split(home)
            if folder == root and name.startswith(b"attempt-"):
                is_beside = os.path.join(root, name.removeprefix(b"attempt-")) in before
                assert home in after or not is_beside, f"deleted beside its group: {name!a}"
                assert home not in after or is_beside or not self._is_cleared, f"left: {name!a}"
                if home not in after:
                    self.may_go.add(name)

    def purge(self, detail: int) -> set[GroupName]:
        """What was asked for goes from quarantine, and nothing else is touched anywhere."""
        entries = sorted(self._aside.entries)
        ages = {e: self.now_s - s if (s := self._since_s.get(e)) else None for e in entries}
        asked: dict[str, Any] = {"entries": "all"}
        if detail % 3 == 1:
            asked = {"entries": entries[detail // 3 % 2 :: 2]}
        elif detail % 3 == 2:
            asked = {"older_than_s": _TURN_S * (detail // 3 % 4)}
        self._is_purged = True
        gone = require_purge(self.store, self._box.store, asked, ages)
        self.may_go |= {entry.partition(".")[0].encode() for entry in gone}
        for entry in gone:
            self._since_s.pop(entry, None)
        return set()

    def load(self, _detail: int) -> set[GroupName]:
        """The newest valid group; what is newer and damaged moves."""
        found = _outcome(self.store.load_latest)
        if name := _require_owed(found, *self._choice()):
            assert found.generation == name.generation, "a load took another group"
            self._loaded = name
            self._moved(name.generation)
        return set()

    def repair(self, _detail: int) -> set[GroupName]:
        """Every damaged group moves, unless what decides forbids it."""
        state, name = self._choice()
        found = _outcome(self.store.repair)
        if state in (NEWER, REFUSED, MACHINE):
            _require_owed(found, state, name)
        elif any(each.state == MACHINE for each in self.made):
            assert isinstance(found, StorageError)
        else:
            self._moved(0)
            assert {each.name for each in found.unjudged} == self._names(NEWER)
            assert {each.name for each in found.unreadable} == self._names(UNREAD, REFUSED)
            self._note_unread()
        return set()

    def prune(self, detail: int) -> set[GroupName]:
        """The newest so many good groups stay, and what was loaded last; every other good one goes.

        So may what nobody has read: an older group whose manifest is intact, and a part not.
        """
        keeps = 1 + detail % 3
        state, name = self._choice()
        going, may_go = self._pruned(keeps)
        found = _outcome(lambda: self.store.prune(LatestN(keeps)))
        if isinstance(found, StorageError) and self._names(MACHINE):
            return set()
        if _require_owed(found, None if state == UNREAD else state, name) is None:
            return set()
        assert going <= {group.name for group in found.given_up} <= may_go, "not what was asked for"
        assert {each.name for each in found.unjudged} == self._names(NEWER)
        return may_go

    def save(self, detail: int) -> set[GroupName]:
        """The next save works, and is above every name; then the store's own policy is applied."""
        receipt = self.store.save(100 + detail, {"model": b"new", "optim/adam": b"too"})
        assert receipt.generation > max((each.name.generation for each in self.made), default=0)
        new = Made(GroupName(receipt.generation, receipt.step), GOOD, GOOD)
        self.made.insert(0, new)
        if not self._keeps:
            return set()
        going, may_go = self._pruned(self._keeps)
        if receipt.retention_error is not None:
            assert self._names(MACHINE), receipt.retention_error
            return set()
        names = set(receipt.pruned)
        assert {*map(str, going)} <= names <= {*map(str, may_go)}, "not what was asked for"
        return may_go

    def _pruned(self, keeps: int) -> tuple[set[GroupName], set[GroupName]]:
        """The groups that go where the newest so many stay, and those that may."""
        good = [each.name for each in self.made if each.state == GOOD]
        going = set(good[keeps:]) - {self._loaded}
        oldest = good[keeps - 1].generation if len(good) >= keeps else 0
        unread = {
            each.name
            for each in self.made
            if each.at_a_glance == GOOD and each.state != GOOD and each.name not in self._noted
            if each.name.generation < oldest
        }
        return going, going | unread

    def verify(self, _detail: int) -> set[GroupName]:
        """A look, after which the store knows of what cannot be read."""
        found = _outcome(self.store.verify)
        _judged(found, self.made)
        if not isinstance(found, StorageError):
            self._note_unread()
        return set()

    def _moved(self, newer_than: int) -> None:
        """Nothing damaged is left above that generation."""
        self._is_cleared = True
        names = os.listdir(self._box.store)
        for each in self.made:
            if each.state == DAMAGED and each.name.generation > newer_than:
                assert str(each.name) not in names, f"not moved: {each}"

    def _choice(self) -> tuple[int | None, GroupName | None]:
        return choice((each.name, each.state) for each in self.made)

    def _names(self, *states: int) -> set[str]:
        return {str(each.name) for each in self.made if each.state in states}

    def _note_unread(self) -> None:
        self._noted |= {each.name for each in self.made if each.state in (UNREAD, REFUSED)}


def _write(disk: WatchingDisk, box: Sandbox, made: list[Made], turns: bytes, keeps: int) -> None:
    """A few turns of a writer, if it may open the store at all. 0: no save prunes."""
    before = contents(box.store)
    photographed = photograph(box.store)
    known = [each for each in made if each.at_a_glance in (GOOD, NEWER)]
    state, name = choice((each.name, each.at_a_glance) for each in known)
    keep = LatestN(keeps) if keeps else None
    writing = Writing(box, made, keeps)
    now = writing.now
    found = _outcome(lambda: open_store(box.store.parent, disk=disk, keep=keep, now=now))
    if state == NEWER:
        _require_owed(found, state, name)
        after = photograph(box.store)
        assert after.keys() - {os.path.join(os.fsencode(box.store), b"lock")} == photographed.keys()
        assert contents(box.store).items() >= before.items()
        return
    assert isinstance(found, Store), found
    with found as store:
        for work in turns:
            writing.turn(store, work)
    leftovers = {top for top in before if top.startswith(b"pruned-")}
    nothing_lost(before, contents(box.store), writing.may_go | leftovers)


def _has(aside: Aside, below: dict[bytes, Any]) -> bool:
    """Say whether what was below a directory of the store is in quarantine, in one entry."""
    inodes = {inode for _, _, inode, _ in below.values()}
    return any(
        inodes <= {inode for _, _, inode, _ in each.values()} for each in aside.tops.values()
    )


def _below(photographed: dict[bytes, Any], home: bytes) -> dict[bytes, Any]:
    """All that is below a directory; not when it was made."""
    return {
        path: (kind, size, inode, data)
        for path, (kind, size, inode, _, data) in photographed.items()
        if path.startswith(home + b"/")
    }
