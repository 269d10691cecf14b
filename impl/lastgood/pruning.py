"""Pruning: what a policy gives up in this store, and what is left of earlier prunes.

`choose` only looks. The writer carries out what was chosen: see `plan_give_up` and `plan_delete`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from attrs import evolve, frozen

from lastgood.disk import Reader, join
from lastgood.errors import UsageError
from lastgood.layout import GroupName, given_up, newest_first
from lastgood.plan import Mode, plan_delete, plan_give_up
from lastgood.recovery import Each, Group, Rejection, examine, read_group
from lastgood.retention import Candidate, Policy, doomed
from lastgood.steps import Step

MAX_DEPTH: Final = 64
"""Directories inside each other that a deletion follows; a part's path is never that deep."""


@frozen
class Pruning:
    """What a prune keeps and gives up, newest first; `leftovers` are unfinished deletions.

    `damaged` are older directories that are no valid group: they are not counted, nor deleted.
    """

    kept: tuple[Group, ...]
    given_up: tuple[Group, ...]
    leftovers: tuple[GroupName, ...]
    damaged: tuple[Rejection, ...]

    @property
    def freed_bytes(self) -> int:
        """The size of the parts that go."""
        return sum(group.size_bytes for group in self.given_up)


def choose(
    reader: Reader,
    store: str,
    names: Iterable[str],
    anchor: Group,
    policy: Policy,
    *,
    now_s: float,
    protect: Collection[int] = (),
    verified: set[GroupName] | None = None,
    each: Each = map,
) -> Pruning:
    """What the policy gives up among the groups that are not newer than `anchor`, which is good.

    Only valid groups count: those that would be kept are verified in full, but for those in
    `verified`, to which they are added. Changes nothing. StorageError.
    """
    names = list(names)
    verified = {anchor.name} if verified is None else verified | {anchor.name}
    groups: dict[int, Group] = {}
    damaged: list[Rejection] = []
    for name in newest_first(names):
        if name.attempt or name.generation > anchor.name.generation:
            continue
        answer = read_group(reader, store, name)
        if isinstance(answer, Group):
            groups[name.generation] = answer
        else:
            damaged.append(answer)
    while True:
        candidates = [_candidate(group) for group in groups.values()]
        going = doomed(policy, candidates, {anchor.name.generation, *protect}, now_s)
        unknown = [g for n, g in groups.items() if n not in going and g.name not in verified]
        answers = [examine(reader, store, group.name, each=each) for group in unknown]
        bad = [answer for answer in answers if isinstance(answer, Rejection)]
        verified |= {answer.name for answer in answers if isinstance(answer, Group)}
        damaged += bad
        for rejection in bad:
            del groups[rejection.generation]
        if not bad:
            break
    return Pruning(
        tuple(group for n, group in groups.items() if n not in going),
        tuple(group for n, group in groups.items() if n in going),
        tuple(given_up(names)),
        tuple(damaged),
    )


def plan_pruning(reader: Reader, mode: Mode, store: str, pruning: Pruning) -> Iterator[Step]:
    """The steps of a prune, in their order. It looks into a directory when its turn has come.

    Leftovers of earlier prunes go first: they have no names of groups, and theirs may be needed.
    """
    names = [group.name for group in reversed(pruning.given_up)]
    for leftover in pruning.leftovers:
        yield from _delete(reader, store, leftover)
    yield from plan_give_up(mode, store, names)
    for name in names:
        yield from _delete(reader, store, evolve(name, pruned=True))


def _delete(reader: Reader, store: str, name: GroupName) -> Iterator[Step]:
    home = join(store, str(name))
    yield from plan_delete(home, *tree_of(reader, home))


def tree_of(reader: Reader, top: str) -> tuple[list[str], list[str]]:
    """The files and the directories below a directory, by their paths in it, parents first.

    A symlink counts as a file and is not followed. UsageError where it is nested too deep;
    OSError.
    """
    files: list[str] = []
    dirs: list[str] = []
    todo = [""]
    while todo:
        inside = todo.pop()
        if inside.count("/") >= MAX_DEPTH:
            raise UsageError(
                f"{join(top, inside)!r}: directories nested {MAX_DEPTH} deep, expected fewer. "
                "Nothing below it was touched."
            )
        for name in reader.names(join(top, inside) if inside else top):
            path = f"{inside}/{name}" if inside else name
            if reader.kind(join(top, path)) == "dir":
                dirs.append(path)
                todo.append(path)
            else:
                files.append(path)
    return files, dirs


def _candidate(group: Group) -> Candidate:
    manifest = group.manifest
    return Candidate(group.name.generation, group.name.step, manifest.saved_at_s, manifest.metadata)
