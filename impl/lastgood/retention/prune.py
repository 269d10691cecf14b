"""Pruning: what a policy gives up in this store, and what is left of earlier prunes.

`decide_prune` only looks: a dry run is its answer, and the writer carries that same answer out: see
`plan_give_up` and `plan_delete`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from attrs import evolve, field, frozen

from lastgood.backends.interface import DiskReader, describe_kind, join
from lastgood.errors import describe_hold, storage_error
from lastgood.format.names import GroupName, newest_first, pruned_names
from lastgood.parts.thread_pool import ParallelMap
from lastgood.protocol.plan import Mode, plan_give_up
from lastgood.protocol.steps import Step
from lastgood.recovery.newer_format import is_unjudged
from lastgood.recovery.recovery import (
    GONE,
    Group,
    Rejection,
    examine,
    new_rejection,
    read_group,
)
from lastgood.recovery.unread import is_unread_error
from lastgood.retention.manifest_cache import to_candidate
from lastgood.retention.policies import Candidate, Policy, generations_to_prune, policy_notes
from lastgood.retention.verified_cache import VerifiedCache

MAX_DEPTH: Final = 2048
"""Directories inside each other that a walk follows: four times as deep as a part's path can be.

No path of 4096 bytes, which Linux ends at, names anything deeper.
"""

_MANY: Final = 8
"""So many damaged groups are found one by one, before as many are verified at a time."""


@frozen
class Pruning:
    """The groups that a prune keeps and gives up, newest first, and unfinished `leftovers`.

    `damaged` are older directories that are no valid group: they are not counted, nor deleted.
    `unreadable` are groups of any age that cannot, or may not, be read: nor are these.
    `unjudged` are groups that a newer version has written: neither counted nor touched.
    `stuck` are entries that a prune cannot delete, and why: leftovers, what is only named like
    them, and groups that cannot be renamed, which are kept. And what could not be cleared away
    before it: damage that cannot be set aside, dead attempts that cannot be deleted.
    `notes` are those of the policy on the groups that count: see `Policy.notes`.
    """

    kept: tuple[Group, ...]
    given_up: tuple[Group, ...]
    leftovers: tuple[GroupName, ...]
    damaged: tuple[Rejection, ...]
    stuck: tuple[Rejection, ...] = ()
    unreadable: tuple[Rejection, ...] = ()
    unjudged: tuple[Rejection, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def freed_bytes(self) -> int:
        """The size of the parts that go; not of what could not be deleted."""
        stuck = {each.name for each in self.stuck}
        went = (g for g in self.given_up if stuck.isdisjoint(_names_of(g.name)))
        return sum(group.size_bytes for group in went)

    def without(self, stuck: Sequence[Rejection]) -> Pruning:
        """The same prune where these are `stuck` too: such a group stays.

        So does one whose new name is taken.
        """
        taken = {each.name for each in stuck}
        blocked = {
            group.name for group in self.given_up if not taken.isdisjoint(_names_of(group.name))
        }
        staying = (group for group in self.given_up if group.name in blocked)
        kept = sorted((*self.kept, *staying), key=lambda group: -group.name.generation)
        return evolve(
            self,
            kept=tuple(kept),
            given_up=tuple(group for group in self.given_up if group.name not in blocked),
            leftovers=tuple(name for name in self.leftovers if str(name) not in taken),
            stuck=(*self.stuck, *stuck),
        )


@frozen
class PruneRequest:
    """A policy, the Unix time, and the generations that stay in any case.

    `unread` could not be read once: they stay as well, and are verified again whoever did before.
    """

    policy: Policy
    now_s: float
    protect: Collection[int] = ()
    unread: Collection[int] = ()

    def generations_to_prune(
        self, groups: Iterable[Group | Candidate], anchor: Collection[int] = ()
    ) -> set[int]:
        """The generations to give up if these are the groups. UsageError of a policy that fails."""
        candidates = [to_candidate(group) for group in groups]
        protected = {*anchor, *self.protect, *self.unread}
        return set(generations_to_prune(self.policy, candidates, protected, self.now_s))

    def notes(self, groups: Iterable[Group | Candidate]) -> tuple[str, ...]:
        """The notes of the policy if these are the groups, newest first. UsageError as above."""
        return policy_notes(self.policy, [to_candidate(group) for group in groups])


@frozen
class PruneCandidates:
    """The names in a store: groups by generation, newest first, and what is no group.

    Of a group the manifest was read, unless only the facts for the policy are there; of a
    leftover, what kind of entry it is.
    """

    groups: dict[int, Group | Candidate] = field(factory=dict)
    damaged: tuple[Rejection, ...] = ()
    leftovers: tuple[GroupName, ...] = ()
    undeletable: tuple[Rejection, ...] = ()
    unjudged: tuple[Rejection, ...] = ()


Look = Callable[[GroupName], Group | Candidate | Rejection]
"""A look at what has a group's name: its manifest, or what is known of it already."""


def list_candidates(
    reader: DiskReader, store: str, names: Collection[str], look: Look | None = None
) -> PruneCandidates:
    """The groups and leftovers among these entries of a store. No part is read. StorageError.

    Every manifest is read, unless there is another `look`.
    """
    groups: dict[int, Group | Candidate] = {}
    damaged: list[Rejection] = []
    unjudged: list[Rejection] = []
    look = look or partial(read_group, reader, store)
    for name in newest_first(names):
        if name.attempt:
            continue
        answer = look(name)
        if not isinstance(answer, Rejection):
            groups[name.generation] = answer
        elif is_unjudged(answer):
            unjudged.append(answer)
        elif answer.reason != GONE:
            damaged.append(answer)
    leftovers, undeletable = list_leftovers(reader, store, names)
    return PruneCandidates(groups, tuple(damaged), leftovers, undeletable, tuple(unjudged))


def list_leftovers(
    reader: DiskReader, store: str, names: Iterable[str]
) -> tuple[tuple[GroupName, ...], tuple[Rejection, ...]]:
    """The unfinished deletions, the oldest first, and what only has such a name. StorageError."""
    leftovers: list[GroupName] = []
    undeletable: list[Rejection] = []
    for name in pruned_names(names):
        path = join(store, str(name))
        try:
            kind = reader.kind(path)
        except OSError as error:
            if not is_unread_error(error):
                raise storage_error(f"looking at {path!r}", error) from error
            undeletable.append(undeletable_rejection(name, error))
            continue
        if kind == "dir":
            leftovers.append(name)
        elif kind != "missing":
            undeletable.append(_stray(name, kind))
    return tuple(leftovers), tuple(undeletable)


def prune_of_nothing(seen: PruneCandidates, request: PruneRequest) -> Pruning | None:
    """The prune where no group would go if all that was seen were valid; None where one would.

    Nothing is verified: no group goes for it. Only groups whose manifests were read are in `kept`.
    """
    going = request.generations_to_prune(seen.groups.values())
    names = {str(pruned_name(to_name(seen.groups[generation]))) for generation in going}
    if names - {each.name for each in seen.undeletable}:
        return None
    return _pruning(seen, seen.groups.values(), set(), seen.damaged, request)


def decide_prune(
    reader: DiskReader,
    store: str,
    seen: PruneCandidates,
    anchor: Group,
    request: PruneRequest,
    *,
    unread: Sequence[Rejection] = (),
    verified: VerifiedCache | None = None,
    parallel_map: ParallelMap = map,
) -> Pruning:
    """The prune that the policy asks for, of the groups that are not newer than `anchor`.

    `anchor` is the newest valid group, verified in full for this. Only valid groups count: every
    other one that would be kept is verified in full as well, now, or by `verified` earlier. Of
    what would go the manifest is read, if it was not: what is no group is not given up. What
    was `unread` in the search for the anchor is told of. Changes nothing. StorageError; UsageError
    of a policy that fails.

    What was seen by its name alone may be no group. It is found out here before it counts: whatever
    has a group's name would be kept or would go, and is looked at for either. What is none is taken
    out, and the policy is asked again, until it was asked of nothing but groups. `kept` then has
    only those whose manifests had been read before.

    Where many were no groups, as many of those that would go, the newest of them, are verified too
    before it is asked again: one at a time would take as many rounds as groups are damaged.
    """
    newest = anchor.name.generation
    groups = {n: group for n, group in seen.groups.items() if n <= newest} | {newest: anchor}
    # What is newer and damaged goes to quarantine; what is newer and cannot be read stays.
    damaged = [one for one in seen.damaged if one.generation <= newest or one.is_unread]
    unjudged = list(seen.unjudged)
    good, failed = {newest}, 0
    while True:
        going = request.generations_to_prune(groups.values(), {newest})
        doubted = sorted(going, reverse=True)[:failed] if failed >= _MANY else ()
        unverified = (groups.keys() - going - good).union(doubted) - good
        bad: list[Rejection] = []
        for n, group in list(groups.items()):
            answer: Group | Rejection | None = None
            if n in unverified:
                earlier = None if n in request.unread else verified
                answer = _verify(reader, store, to_name(group), earlier, parallel_map)
            if n in going and answer is None and not isinstance(group, Group):
                answer = read_group(reader, store, to_name(group))
            if isinstance(answer, Rejection):
                bad.append(answer)
                continue
            if n in going and answer is not None:
                groups[n] = answer
            if n in unverified:
                good.add(n)
        for rejection in bad:
            del groups[rejection.generation]
        unjudged += [answer for answer in bad if is_unjudged(answer)]
        damaged += [each for each in bad if not is_unjudged(each) and each.reason != GONE]
        failed += len(bad)
        if not bad:
            break
    found = {one.generation for one in damaged}
    newer = [one for one in unread if one.generation not in found]
    seen = evolve(seen, unjudged=tuple(unjudged))
    return _pruning(seen, groups.values(), going, (*newer, *damaged), request)


def _verify(
    reader: DiskReader,
    store: str,
    name: GroupName,
    verified: VerifiedCache | None,
    parallel_map: ParallelMap,
) -> Group | Rejection | None:
    """Verify a group in full; None where it was `verified` and has not been touched since."""
    if verified is None:
        return examine(reader, store, name, parallel_map=parallel_map)
    return None if verified.vouches_for(name) else verified.examine(name, parallel_map)


def plan_uncommit(mode: Mode, store: str, pruning: Pruning) -> Iterator[Step]:
    """Take their names from the groups that go, the oldest first: see `plan_give_up`."""
    yield from plan_give_up(mode, store, [group.name for group in reversed(pruning.given_up)])


def pruned_name(name: GroupName) -> GroupName:
    """The name that a group has once it was given up, until it is deleted."""
    return evolve(name, pruned=True)


def _names_of(name: GroupName) -> tuple[str, str]:
    """The names that a group has before and after it was given up."""
    return str(name), str(pruned_name(name))


def undeletable_rejection(name: GroupName, error: OSError) -> Rejection:
    """A group that was given up and whose directory the disk does not delete."""
    if error.errno == errno.ENAMETOOLONG:
        return _too_deep(name)
    what = f" {error.filename!r}" if error.filename else ""
    # Without another name nothing but this process's memory tells it from a group that was damaged.
    then = "the next prune" if name.pruned else "the next prune of this process, or any repair,"
    return new_rejection(
        name,
        "refused",
        f"the disk refused to delete{what}: {describe_hold(error)}. It is no group any more, and "
        f"{then} tries again",
    )


def held_rejection(name: GroupName, error: OSError) -> Rejection:
    """A group that goes and that the disk does not rename: it stays, whole."""
    return new_rejection(
        name,
        "refused",
        f"the disk refused to rename it: {describe_hold(error)}. It is kept, and the next prune "
        "tries again",
    )


def _too_deep(name: GroupName) -> Rejection:
    """A leftover with something in it that no path can name."""
    return new_rejection(
        name,
        "too_deep",
        "something in it lies deeper than a path can name, so it was not deleted. It is no group "
        "any more; remove the directory by hand (rm -r)",
    )


def list_tree(reader: DiskReader, top: str) -> tuple[list[str], list[str]]:
    """The files and the directories below a directory, by their paths in it, parents first.

    A symlink counts as a file and is not followed. OSError; ENAMETOOLONG where it is nested
    deeper than MAX_DEPTH, or than the operating system takes.
    """
    files: list[str] = []
    dirs: list[str] = []
    todo = [""]
    while todo:
        inside = todo.pop()
        folder = join(top, inside) if inside else top
        if inside.count("/") >= MAX_DEPTH:
            raise OSError(errno.ENAMETOOLONG, f"nested more than {MAX_DEPTH} deep", folder)
        for name in reader.names(folder):
            path = f"{inside}/{name}" if inside else name
            if reader.kind(join(top, path)) == "dir":
                dirs.append(path)
                todo.append(path)
            else:
                files.append(path)
    return files, dirs


def _pruning(
    seen: PruneCandidates,
    groups: Collection[Group | Candidate],
    going: Collection[int],
    damaged: tuple[Rejection, ...],
    request: PruneRequest,
) -> Pruning:
    """The answer; what already is known to be undeletable keeps its group."""
    unread = sorted((one for one in damaged if one.is_unread), key=lambda one: -one.generation)
    read = [group for group in groups if isinstance(group, Group)]
    pruning = Pruning(
        tuple(group for group in read if group.name.generation not in going),
        tuple(group for group in read if group.name.generation in going),
        seen.leftovers,
        tuple(one for one in damaged if not one.is_unread),
        unreadable=tuple(unread),
        unjudged=seen.unjudged,
        notes=request.notes(groups),
    )
    return pruning.without(seen.undeletable)


def _stray(name: GroupName, kind: str) -> Rejection:
    return new_rejection(
        name,
        f"not_regular:{name}",
        f"found {describe_kind(kind)}, expected a directory that a prune has left. It was neither "
        "followed nor deleted; move it out of the store",
    )


def to_name(group: Group | Candidate) -> GroupName:
    """The name of what a policy is asked about."""
    return group.name if isinstance(group, Group) else GroupName(group.generation, group.step)
