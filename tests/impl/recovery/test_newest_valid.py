"""The choice of a group, whatever happened to each of a few: the newest intact one."""

from __future__ import annotations

import errno
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping

import pytest
from attrs import frozen

from lastgood.format.manifest import Manifest, Part, encode
from lastgood.format.names import GroupName, newest_first
from lastgood.recovery.recovery import Scan, newest_valid

STORE = "/store"
CONTENT = b"weights"
FATES = {
    "intact": "",
    "no manifest": "no_commit",
    "manifest cut short": "manifest_error",
    "part missing": "missing",
    "part cut short": "size_mismatch",
    "part changed": "sha_mismatch",
    "renamed to another generation": "name_mismatch",
    "dead attempt": "attempt",
}
"""Each fate of a group, and the reason for which it is rejected."""


@frozen
class Files:
    """A reader over a mapping from paths to contents; directories are what paths imply."""

    content: Mapping[str, bytes]
    groups: tuple[str, ...]

    def kind(self, path: str) -> str:
        if path in self.content:
            return "file"
        return "dir" if path.rpartition("/")[2] in self.groups else "missing"

    def names(self, path: str) -> list[str]:
        return sorted(self.groups) if path == STORE else []

    def read(self, path: str, limit_bytes: int) -> bytes:
        if path not in self.content:
            raise OSError(errno.ENOENT, "no such file", path)
        if len(self.content[path]) > limit_bytes:
            raise OSError(errno.EFBIG, "too long", path)
        return self.content[path]

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        data = self.read(path, limit_bytes)
        return len(data), hashlib.sha256(data).hexdigest()


def scan(fates: tuple[str, ...]) -> Scan:
    """What is chosen in a store whose group n has met fates[n]."""
    content: dict[str, bytes] = {}
    names = []
    for generation, fate in enumerate(fates):
        names.append(str(GroupName(generation, 5, fate == "dead attempt")))
        put(content, f"{STORE}/{names[-1]}", generation, fate)
    return newest_valid(Files(content, tuple(names)), STORE, names)


def put(content: dict[str, bytes], home: str, generation: int, fate: str) -> None:
    said = generation + 100 if fate == "renamed to another generation" else generation
    part = Part("weights", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    manifest = encode(Manifest(said, 5, f"a{generation}", (part,)))
    harm: dict[str, Callable[[bytes], bytes]] = {
        "part cut short": lambda data: data[:-1],
        "part changed": lambda data: b"?" + data[1:],
    }
    if fate != "no manifest":
        content[f"{home}/MANIFEST"] = manifest[:-9] if fate == "manifest cut short" else manifest
    if fate != "part missing":
        content[f"{home}/weights"] = harm.get(fate, bytes)(CONTENT)


def all_fates(most: int) -> Iterator[tuple[str, ...]]:
    """Each history of at most so many groups."""
    for count in range(most + 1):
        yield from itertools.product(FATES, repeat=count)


def wrongly_chosen(fates: tuple[str, ...]) -> str:
    """What is wrong with the choice in such a store; nothing if it is right."""
    found = scan(fates)
    newest = max((n for n, fate in enumerate(fates) if fate == "intact"), default=-1)
    if (found.group.name.generation if found.group else -1) != newest:
        return f"{fates}: chose {found.group}"
    reasons = {each.generation: each.reason.partition(":")[0] for each in found.rejected}
    # Dead attempts are rejected at any age; of the rest only what is newer was looked at.
    wanted = {
        generation: FATES[fate]
        for generation, fate in enumerate(fates)
        if fate == "dead attempt" or (fate != "intact" and generation > newest)
    }
    return "" if reasons == wanted else f"{fates}: rejected for {reasons}"


def test_of_up_to_three_groups_the_newest_intact_one_is_chosen_whatever_their_fates() -> None:
    assert not list(filter(None, map(wrongly_chosen, all_fates(3))))


@pytest.mark.thorough
def test_of_four_groups_the_newest_intact_one_is_chosen_whatever_their_fates() -> None:
    assert not list(filter(None, map(wrongly_chosen, itertools.product(FATES, repeat=4))))


def test_another_bad_group_never_hides_a_good_one() -> None:
    for fates in all_fates(2):
        before = scan(fates).group
        for bad in FATES.keys() - {"intact"}:
            assert scan((*fates, bad)).group == before


def test_a_recovery_that_prefers_the_oldest_group_chooses_wrongly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "lastgood.recovery.recovery.newest_first", lambda names: newest_first(names)[::-1]
    )

    assert wrongly_chosen(("intact", "intact")).startswith("('intact', 'intact'): chose Group(")
