"""The names in a store: of groups, attempts, the lease and the quarantine.

STORE/lock                                      the lease
STORE/gen-00000007-step-00000042/               a group: parts and MANIFEST
STORE/attempt-gen-00000007-step-00000042/       a group in the making (rename form)
STORE/pruned-gen-00000007-step-00000042/        a group that retention has given up, half deleted
STORE/quarantine/                               what a recovery rejected, under its old name
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import chain, count
from typing import Final

from attrs import frozen

MANIFEST: Final = "MANIFEST"
LOCK: Final = "lock"
QUARANTINE: Final = "quarantine"
MAX_NUMBER: Final = 10**18 - 1
"""The largest step that a name may carry."""
MAX_GENERATION: Final = 10**15 - 1
"""The largest generation: a save in each millisecond of 30,000 years.

A larger number was given by no store. Its name is a stranger's: it is no group, and keeps no store
from counting on.
"""

_NUMBER: Final = "[0-9]{8}|[1-9][0-9]{8,17}"  # one spelling of each
_NAME: Final = re.compile(
    rf"(?P<prefix>attempt-|pruned-)?gen-(?P<generation>{_NUMBER})-step-(?P<step>{_NUMBER})"
    r"(?P<suffix>\.[1-9][0-9]{0,8})?"
)


@frozen
class GroupName:
    """The content of a directory's name; `str` gives the name itself."""

    generation: int
    step: int
    attempt: bool = False
    pruned: bool = False

    def __str__(self) -> str:
        prefix = "attempt-" if self.attempt else "pruned-" if self.pruned else ""
        return f"{prefix}gen-{self.generation:08d}-step-{self.step:08d}"


def parse_name(text: str, *, in_quarantine: bool = False) -> GroupName | None:
    """The group that a name speaks of; None for any name that lastgood would not give."""
    match = _NAME.fullmatch(text)
    if match is None or (match["suffix"] and not in_quarantine):
        return None
    prefix = match["prefix"]
    numbers = int(match["generation"]), int(match["step"])
    if numbers[0] > MAX_GENERATION:
        return None
    return GroupName(*numbers, attempt=prefix == "attempt-", pruned=prefix == "pruned-")


def newest_first(names: Iterable[str]) -> list[GroupName]:
    """The groups and attempts among a store's entry names, the newest generation first."""
    found = [name for name in map(parse_name, names) if name is not None and not name.pruned]
    return sorted(found, key=lambda name: (-name.generation, name.attempt, name.step))


def pruned_names(names: Iterable[str]) -> list[GroupName]:
    """The groups that a prune has un-committed and not yet deleted, the oldest generation first."""
    found = [name for name in map(parse_name, names) if name is not None and name.pruned]
    return sorted(found, key=lambda name: (name.generation, name.step))


def next_generation(in_store: Iterable[str], in_quarantine: Iterable[str]) -> int:
    """One more than any generation that a name carries, of a valid group or not; 1 at first."""
    found = [parse_name(name) for name in in_store]
    found += [parse_name(name, in_quarantine=True) for name in in_quarantine]
    return 1 + max((name.generation for name in found if name is not None), default=0)


def free_name(name: str, taken: Collection[str]) -> str:
    """`name`, or with the first suffix .1, .2, … that is not taken."""
    candidates = chain([name], (f"{name}.{number}" for number in count(1)))
    return next(free for free in candidates if free not in taken)
