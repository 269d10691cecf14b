"""What becomes of that which is no valid group, as the holder of the lease sees it. Reading only.

A dead attempt of the rename form was never acknowledged: it is deleted. A group without a MANIFEST
may be one, or may have been acknowledged and have lost it: quarantine keeps the newest such entry
only, and older ones are deleted. All other damage goes to quarantine. What cannot be set aside
stays under its name, where every load passes over it: it ends nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable
from typing import Final

from attrs import evolve, frozen

from lastgood.backends.interface import DiskReader, describe_kind, join
from lastgood.errors import UsageError, describe_error, describe_hold, remedy_for
from lastgood.format.names import MANIFEST, QUARANTINE, newest_first, parse_name
from lastgood.recovery.quarantine import has_quarantine, stays
from lastgood.recovery.recovery import (
    ATTEMPT,
    NO_COMMIT,
    Rejection,
    as_lease_holder,
    new_rejection,
)

NOT_SET_ASIDE: Final = "not_set_aside"
"""The reason of what should go to quarantine, and cannot."""
BESIDE_ITS_GROUP: Final = "beside_its_group"
"""The reason of a dead attempt, or an entry of the quarantine, whose group is in the store.

Where a rename is not atomic, a crash may leave one directory under both names.
"""
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@frozen
class Clearing:
    """The things that go to quarantine, are deleted, or stay all the same (`stuck`), and why.

    A name in `discarded` is a path inside the store: "quarantine/gen-…" of an older entry there.
    `taken` are the names in quarantine.
    """

    moved: tuple[Rejection, ...] = ()
    discarded: tuple[Rejection, ...] = ()
    stuck: tuple[Rejection, ...] = ()
    taken: tuple[str, ...] = ()

    def __add__(self, later: Clearing) -> Clearing:
        """Both, one after the other."""
        return Clearing(
            (*self.moved, *later.moved),
            (*self.discarded, *later.discarded),
            (*self.stuck, *later.stuck),
            later.taken,
        )


def decide_clearing(
    reader: DiskReader, store: str, names: Collection[str], rejected: Iterable[Rejection]
) -> Clearing:
    """The fate of what was rejected in a store with these entry names. Nothing is raised.

    What cannot be read, and what a newer version has written, is left out: it stays.
    """
    bad = [each for each in rejected if not stays(each)]
    attempts = [_fate(reader, store, set(names), each) for each in bad if each.reason == ATTEMPT]
    # Quarantine is looked at only where something has to go there.
    decided = Clearing(
        tuple(each for each in bad if each.reason not in (ATTEMPT, NO_COMMIT)),
        tuple(each for each in attempts if each.reason == ATTEMPT),
        tuple(each for each in attempts if each.reason == BESIDE_ITS_GROUP),
    )
    moves = [*decided.moved, *(e for e in attempts if e.reason not in (ATTEMPT, BESIDE_ITS_GROUP))]
    uncommitted = [each for each in bad if each.reason == NO_COMMIT]
    if not moves and not uncommitted:
        return decided
    try:
        is_there, folder = has_quarantine(reader, store), join(store, QUARANTINE)
        taken, obstacle = tuple(reader.names(folder)) if is_there else (), ""
    except OSError as error:
        what = f"looking at {join(store, QUARANTINE)!r} failed: {describe_error(error)}"
        taken, obstacle = (), f"{what}. {remedy_for(error)}"
    except UsageError as error:
        taken, obstacle = (), str(error)
    aside = _uncommitted_aside(reader, store, taken) if uncommitted else []
    newest = max((each.generation for each in (*uncommitted, *aside)), default=0)
    moves += [each for each in uncommitted if each.generation == newest]
    older = [each for each in (*uncommitted, *aside) if each.generation < newest]
    return evolve(
        decided,
        moved=() if obstacle else tuple(moves),
        discarded=(*decided.discarded, *older),
        stuck=(*decided.stuck, *(_not_set_aside(each, obstacle) for each in moves if obstacle)),
        taken=taken,
    )


def list_unacknowledged(
    reader: DiskReader, store: str, names: Iterable[str]
) -> tuple[Rejection, ...]:
    """Dead attempts, and directories without MANIFEST that are newer than every one with it.

    As the holder of the lease knows them, who is not saving. No manifest is read, so one that a
    crash has cut off counts as one: what is older than it is for a load or a repair to clear.
    """
    found = []
    is_newest = True
    for name in newest_first(names):
        if name.attempt:
            found.append(new_rejection(name, ATTEMPT, ""))
        elif is_newest:
            is_newest = lacks_manifest(reader, join(store, str(name)))
            if is_newest:
                found.append(new_rejection(name, NO_COMMIT, ""))
    return tuple(map(as_lease_holder, found))


def not_moved(rejection: Rejection, error: OSError) -> Rejection:
    """The rejection of what the disk does not move to quarantine."""
    why = f"the disk refused the move to {QUARANTINE!r}: {describe_error(error)}"
    return _not_set_aside(rejection, f"{why}. {remedy_for(error)}")


def not_deleted(rejection: Rejection, error: OSError, then: str) -> Rejection:
    """What was never acknowledged, or is given up, and what the disk does not delete.

    `then` says who tries again, where that can help.
    """
    if error.errno == errno.ENAMETOOLONG:
        reason, why = "too_deep", "something in it lies deeper than a path can name"
        then = "Remove the directory by hand (rm -r)"
    elif error.errno == errno.EISDIR:
        reason, why = "refused", f"{error.filename!r} is a directory, expected a file"
        then = "Remove that directory by hand (rm -r), then try again"
    else:
        what = f" {error.filename!r}" if error.filename else ""
        reason, why = "refused", f"the disk refused to delete{what}: {describe_hold(error)}"
    return evolve(
        rejection, reason=reason, detail=f"{rejection.detail}; it was not deleted: {why}. {then}"
    )


def in_quarantine(entry: str) -> str:
    """The path of an entry of the quarantine inside the store."""
    return f"{QUARANTINE}/{entry}"


def _fate(reader: DiskReader, store: str, names: set[str], attempt: Rejection) -> Rejection:
    """A dead attempt with the reason that decides what becomes of it."""
    name = parse_name(attempt.name)
    group = "" if name is None else str(evolve(name, attempt=False))
    if group in names:
        why = (
            f"{attempt.detail}; {group} is there too, and both may be names of one directory. It "
            "is deleted when that group has gone"
        )
        return evolve(attempt, reason=BESIDE_ITS_GROUP, detail=why)
    try:
        kind = reader.kind(join(store, attempt.name))
    except OSError:
        return attempt  # a deletion will be told why
    if kind in ("dir", "missing"):
        return attempt
    why = f"found {describe_kind(kind)}, expected a directory"
    return evolve(attempt, reason=f"not_regular:{attempt.name}", detail=why)


def _not_set_aside(rejection: Rejection, why: str) -> Rejection:
    why = f"it is damaged ({rejection.reason}: {rejection.detail}) and stays under its name: {why}"
    return evolve(rejection, reason=NOT_SET_ASIDE, detail=why.removesuffix("."))


def _uncommitted_aside(reader: DiskReader, store: str, taken: Iterable[str]) -> list[Rejection]:
    """The entries of the quarantine that are directories without a MANIFEST, or dead attempts."""
    found = []
    for entry in taken:
        name, path = parse_name(entry, in_quarantine=True), join(store, in_quarantine(entry))
        if name is None or name.pruned or not lacks_manifest(reader, path):
            continue
        rejection = new_rejection(name, ATTEMPT if name.attempt else NO_COMMIT, "")
        found.append(evolve(as_lease_holder(rejection), name=in_quarantine(entry)))
    return found


def lacks_manifest(reader: DiskReader, folder: str) -> bool:
    """Say whether it is a directory in which MANIFEST is missing, as far as can be known."""
    try:
        return reader.kind(folder) == "dir" and reader.kind(join(folder, MANIFEST)) == "missing"
    except OSError:
        return False
