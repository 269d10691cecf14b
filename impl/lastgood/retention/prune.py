"""Pruning: what a policy gives up in this store, and what is left of earlier prunes.

`decide_prune` only looks: a dry run is its answer, and the writer carries that same answer out: see
`plan_give_up` and `plan_delete`.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from attrs import evolve, field, frozen

from lastgood.backends.interface import DiskReader, describe_kind, join
from lastgood.errors import describe_error, storage_error
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
from lastgood.retention.policies import Candidate, Policy, generations_to_prune, policy_notes
from lastgood.retention.verified_cache import VerifiedCache

MAX_DEPTH: Final = 2048
"""Directories inside each other that a walk follows: four times as deep as a part's path can be.

No path of 4096 bytes, which Linux ends at, names anything deeper.
"""


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
        went = (g for g in self.given_up if str(pruned_name(g.name)) not in stuck)
        return sum(group.size_bytes for group in went)

    def without(self, stuck: Sequence[Rejection]) -> Pruning:
        """The same prune where these are `stuck` too: such a group stays.

        So does one whose new name is taken.
        """
        taken = {each.name for each in stuck}
        blocked = [
            group
            for group in self.given_up
            if {str(group.name), str(pruned_name(group.name))} & taken
        ]
        kept = sorted((*self.kept, *blocked), key=lambda group: -group.name.generation)
        return evolve(
            self,
            kept=tuple(kept),
            given_up=tuple(group for group in self.given_up if group not in blocked),
            leftovers=tuple(name for name in self.leftovers if str(name) not in taken),
            stuck=(*self.stuck, *stuck),
        )


@frozen
class PruneRequest:
    """A policy, the Unix time, and the generations that stay in any case."""

    policy: Policy
    now_s: float
    protect: Collection[int] = ()

    def generations_to_prune(
        self, groups: Iterable[Group], anchor: Collection[int] = ()
    ) -> list[int]:
        """The generations to give up if these are the groups. UsageError of a policy that fails."""
        candidates = [to_candidate(group) for group in groups]
        return generations_to_prune(self.policy, candidates, {*anchor, *self.protect}, self.now_s)

    def notes(self, groups: Iterable[Group]) -> tuple[str, ...]:
        """The notes of the policy if these are the groups, newest first. UsageError as above."""
        return policy_notes(self.policy, [to_candidate(group) for group in groups])


@frozen
class PruneCandidates:
    """The names in a store: groups by generation, newest first, and what is no group.

    Of a group the manifest was read; of a leftover, what kind of entry it is.
    """

    groups: dict[int, Group] = field(factory=dict)
    damaged: tuple[Rejection, ...] = ()
    leftovers: tuple[GroupName, ...] = ()
    undeletable: tuple[Rejection, ...] = ()
    unjudged: tuple[Rejection, ...] = ()


def list_candidates(reader: DiskReader, store: str, names: Iterable[str]) -> PruneCandidates:
    """The groups and leftovers among these entries of a store. No part is read. StorageError."""
    names = list(names)
    groups: dict[int, Group] = {}
    damaged: list[Rejection] = []
    unjudged: list[Rejection] = []
    for name in newest_first(names):
        answer = None if name.attempt else read_group(reader, store, name)
        if isinstance(answer, Group):
            groups[name.generation] = answer
        elif answer is not None and is_unjudged(answer):
            unjudged.append(answer)
        elif answer is not None and answer.reason != GONE:
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


def preview_prune(seen: PruneCandidates, request: PruneRequest) -> Pruning:
    """The prune if every manifest told the truth. Nothing is verified: no group goes for it."""
    going = request.generations_to_prune(seen.groups.values())
    return _pruning(seen, list(seen.groups.values()), going, seen.damaged, request)


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
    other one that would be kept is verified in full as well, now, or by `verified` earlier. What
    was `unread` in the search for the anchor is told of. Changes nothing. StorageError; UsageError
    of a policy that fails.
    """
    newest = anchor.name.generation
    groups = {n: group for n, group in seen.groups.items() if n <= newest} | {newest: anchor}
    # What is newer and damaged goes to quarantine; what is newer and cannot be read stays.
    damaged = [one for one in seen.damaged if one.generation <= newest or one.is_unread]
    good = {anchor.name}
    while True:
        going = request.generations_to_prune(groups.values(), {newest})
        bad: list[Rejection] = []
        for group in [g for n, g in groups.items() if n not in going and g.name not in good]:
            if verified is not None and verified.vouches_for(group):
                good.add(group.name)
                continue
            stamps = None if verified is None else verified.stamps_of(group)
            answer = examine(reader, store, group.name, parallel_map=parallel_map)
            if isinstance(answer, Rejection):
                bad.append(answer)
                continue
            good.add(group.name)
            if verified is not None:
                verified.remember(group.name, stamps)
        damaged += [answer for answer in bad if answer.reason != GONE]
        for rejection in bad:
            del groups[rejection.generation]
        if not bad:
            break
    found = {one.generation for one in damaged}
    newer = [one for one in unread if one.generation not in found]
    return _pruning(seen, list(groups.values()), going, (*newer, *damaged), request)


def plan_uncommit(mode: Mode, store: str, pruning: Pruning) -> Iterator[Step]:
    """Take their names from the groups that go, the oldest first: see `plan_give_up`."""
    yield from plan_give_up(mode, store, [group.name for group in reversed(pruning.given_up)])


def pruned_name(name: GroupName) -> GroupName:
    """The name that a group has once it was given up, until it is deleted."""
    return evolve(name, pruned=True)


def undeletable_rejection(name: GroupName, error: OSError) -> Rejection:
    """A group that was given up and whose directory the disk does not delete."""
    if error.errno == errno.ENAMETOOLONG:
        return _too_deep(name)
    what = f" {error.filename!r}" if error.filename else ""
    return new_rejection(
        name,
        "refused",
        f"the disk refused to delete{what}: {describe_error(error)}. It is no group any more, and "
        "the next prune tries again",
    )


def held_rejection(name: GroupName, error: OSError) -> Rejection:
    """A group that goes and that the disk does not rename: it stays, whole."""
    return new_rejection(
        name,
        "refused",
        f"the disk refused to rename it: {describe_error(error)}. It is kept, and the next prune "
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
    groups: list[Group],
    going: list[int],
    damaged: tuple[Rejection, ...],
    request: PruneRequest,
) -> Pruning:
    """The answer; what already is known to be undeletable keeps its group."""
    unread = sorted((one for one in damaged if one.is_unread), key=lambda one: -one.generation)
    pruning = Pruning(
        tuple(group for group in groups if group.name.generation not in going),
        tuple(group for group in groups if group.name.generation in going),
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


def to_candidate(group: Group) -> Candidate:
    """The facts about a group that a policy sees."""
    manifest = group.manifest
    return Candidate(group.name.generation, group.name.step, manifest.saved_at_s, manifest.metadata)
