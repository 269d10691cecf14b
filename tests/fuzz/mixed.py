"""A target on stores whose groups are good, damaged, newer, unfinished and unreadable, mixed.

The state of each group is known from how it was made. So what a load, a repair and a prune owe is
said here from docs/protocol.md alone, and not by the library's own judge.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from attrs import frozen

from lastgood import LatestN, Store
from lastgood.errors import IntegrityError, NewerFormatError, StorageError
from lastgood.format.names import GroupName
from lastgood.recovery.recovery import Group, Rejection
from tests.fuzz.stores import contents, nothing_lost, sandbox
from tests.fuzz.tape import Tape
from tests.fuzz.trees import Names, Sandbox, odd_newer, put_group
from tests.fuzz.watching import WatchingDisk, photograph, watched
from tests.impl.disks import open_store

GOOD, NEWER, DAMAGED, UNREAD, REFUSED, MACHINE = range(6)
"""The states of a group. REFUSED: this user may not read it. MACHINE: no word about a group."""
MOST: Final = 6
"""So many groups are in a store at first, at most."""
_ERRNOS: Final = (
    (UNREAD, (errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO))),
    (UNREAD, (errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO))),
    (REFUSED, (errno.EACCES, errno.EPERM)),
    (MACHINE, (errno.EMFILE, errno.ENOMEM)),
)
_STAY: Final = (NEWER, UNREAD, REFUSED, MACHINE)


@frozen
class Made:
    """A group of the store: what a load finds of it, and what a look at its manifest finds."""

    name: GroupName
    state: int
    at_a_glance: int


def store_mixed(data: bytes) -> None:
    """Groups of every kind in one store: nothing intact, newer or unreadable is lost or moved."""
    tape = Tape(data)
    turns, keeps = tape.take(4), tape.byte() % 4
    with sandbox() as box:
        refused: dict[str, int] = {}
        made = [_group(box, tape, n, refused) for n in range(1 + tape.byte() % MOST, 0, -1)]
        _bystanders(box, tape)
        before = photograph(box.store.parent)
        with watched(box, may_change=False) as disk:
            disk.refused = refused
            _read(Store(str(box.store), writable=False, disk=disk, workers=1), made)
        assert photograph(box.store.parent) == before
        with watched(box, may_change=True) as disk:
            disk.refused = refused
            _write(disk, box, made, turns, keeps)


def _group(box: Sandbox, tape: Tape, number: int, refused: dict[str, int]) -> Made:
    """A group of one kind. `refused` gets the path that the disk will not let anybody read."""
    name = GroupName(number, number)
    home: Names = (str(name).encode(),)
    parts = put_group(box, home, name, tape.byte())
    part: Names = (*home, *parts[tape.byte() % len(parts)].encode().split(b"/"))
    manifest: Names = (*home, b"MANIFEST")
    kind = tape.byte() % 9
    if kind == 1:
        _break_part(box, part, tape)
        return Made(name, DAMAGED, GOOD)
    if kind == 2:
        box.path(manifest).unlink()
        return Made(name, DAMAGED, DAMAGED)
    if kind in (3, 4, 5, 6):
        if kind != 6:
            box.write(manifest, odd_newer(box.read(manifest), tape))
        if kind in (5, 6):  # a seal that is broken is damage, whatever else is in there
            broken = bytearray(box.read(manifest))
            broken[tape.number() % len(broken)] ^= 1 << tape.byte() % 8
            box.write(manifest, bytes(broken))
            return Made(name, DAMAGED, DAMAGED)
        if kind == 4:  # its parts are not ours to judge either
            _break_part(box, part, tape)
        return Made(name, NEWER, NEWER)
    if kind in (7, 8):
        state, errnos = _ERRNOS[tape.byte() % len(_ERRNOS)]
        path = part if kind == 7 else manifest
        if kind == 8 and tape.byte() % 2:  # nobody can tell what it would be
            box.write(manifest, odd_newer(box.read(manifest), tape))
        refused[os.path.realpath(box.path(path))] = errnos[tape.byte() % len(errnos)]
        return Made(name, state, GOOD if kind == 7 else state)
    return Made(name, GOOD, GOOD)


def _break_part(box: Sandbox, part: Names, tape: Tape) -> None:
    data, kind = box.read(part), tape.byte() % 3
    if kind == 0:
        box.path(part).unlink()
    elif kind == 1 or not data:
        box.write(part, data + b"x")
    else:
        box.write(part, data[:-1] + bytes([data[-1] ^ 1 << tape.byte() % 8]))


def _bystanders(box: Sandbox, tape: Tape) -> None:
    """What is no group, whatever manifest lies in it: attempts, leftovers, and the quarantine."""
    for _ in range(tape.byte() % 4):
        kind, number = tape.byte() % 3, 1 + tape.byte() % MOST
        name = GroupName(number, number, attempt=kind == 0, pruned=kind == 1)
        home: Names = (str(name).encode(),)
        if kind == 2:
            home = (b"quarantine", str(name).encode())
        put_group(box, home, name, tape.byte())
        manifest: Names = (*home, b"MANIFEST")
        if tape.byte() % 2:
            box.write(manifest, odd_newer(box.read(manifest), tape))


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

    def __init__(self, box: Sandbox, store: Store, made: list[Made], keeps: int) -> None:
        self.store, self._keeps = store, keeps
        self.made = list(made)
        self.may_go: set[bytes] = set()
        self._box, self._seen = box, photograph(box.store)
        self._loaded: GroupName | None = None
        self._noted: set[GroupName] = set()

    def turn(self, work: int) -> None:
        """One call, and what it owes."""
        before = self._seen
        calls = (self.load, self.repair, self.prune, self.save, self.verify)
        allowed = calls[work % len(calls)](work // len(calls))
        self._seen = after = photograph(self._box.store)
        root = os.fsencode(self._box.store)
        for each in list(self.made):
            home = os.path.join(root, str(each.name).encode())
            stays = each.state in _STAY or (each.state == GOOD and each.name not in allowed)
            if stays and each.name not in allowed:
                is_there = _below(before, home)
                assert _below(after, home).items() >= is_there.items(), f"touched: {each}"
            elif home not in after:
                self.made.remove(each)
        self.may_go |= {str(name).encode() for name in allowed}

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
    found = _outcome(lambda: open_store(box.store.parent, disk=disk, keep=keep))
    if state == NEWER:
        _require_owed(found, state, name)
        after = photograph(box.store)
        assert after.keys() - {os.path.join(os.fsencode(box.store), b"lock")} == photographed.keys()
        assert contents(box.store).items() >= before.items()
        return
    assert isinstance(found, Store), found
    with found as store:
        writing = Writing(box, store, made, keeps)
        for work in turns:
            writing.turn(work)
    leftovers = {top for top in before if top.startswith(b"pruned-")}
    nothing_lost(before, contents(box.store), writing.may_go | leftovers)


def _below(photographed: dict[bytes, Any], home: bytes) -> dict[bytes, Any]:
    """All that is below a directory; not when it was made."""
    return {
        path: (kind, size, inode, data)
        for path, (kind, size, inode, _, data) in photographed.items()
        if path.startswith(home + b"/")
    }
