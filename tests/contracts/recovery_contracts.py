"""What the choice of a group promises: the newest valid one, whatever happened to the others."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Mapping

from attrs import frozen

from lastgood.format.manifest import Manifest, Part, encode
from lastgood.format.names import GroupName
from lastgood.recovery.recovery import Scan, newest_valid

STORE = "/store"
CONTENT = b"weights"
FATES: tuple[tuple[str, str], ...] = (
    ("intact", ""),
    ("no manifest", "no_commit"),
    ("manifest cut short", "manifest_error"),
    ("part missing", "missing"),
    ("part cut short", "size_mismatch"),
    ("part changed", "sha_mismatch"),
    ("renamed to another generation", "name_mismatch"),
    ("dead attempt", "attempt"),
)
INTACT = 0
DEAD_ATTEMPT = 7


@frozen
class Files:
    """A reader over a mapping from paths to contents; directories are what paths imply."""

    content: Mapping[str, bytes]
    groups: tuple[str, ...]

    def kind(self, path: str) -> str:
        """See lastgood.backends.interface.Reader."""
        if path in self.content:
            return "file"
        return "dir" if path.rpartition("/")[2] in self.groups else "missing"

    def names(self, path: str) -> list[str]:
        """See lastgood.backends.interface.Reader."""
        return sorted(self.groups) if path == STORE else []

    def read(self, path: str, limit_bytes: int) -> bytes:
        """See lastgood.backends.interface.Reader."""
        if path not in self.content:
            raise OSError(errno.ENOENT, "no such file", path)
        if len(self.content[path]) > limit_bytes:
            raise OSError(errno.EFBIG, "too long", path)
        return self.content[path]

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """See lastgood.backends.interface.Reader."""
        data = self.read(path, limit_bytes)
        return len(data), hashlib.sha256(data).hexdigest()


def the_newest_intact_group_is_chosen(fates: tuple[int, ...]) -> None:
    """Group n met fates[n]: the newest intact one is found, each newer one rejected rightly."""
    assert len(fates) <= 4
    assert all(0 <= fate < len(FATES) for fate in fates)

    scan = _scan(fates)

    intact = [generation for generation, fate in enumerate(fates) if fate == INTACT]
    newest = max(intact, default=-1)
    assert (scan.group.name.generation if scan.group else -1) == newest
    reasons = {each.generation: each.reason.partition(":")[0] for each in scan.rejected}
    # Dead attempts are rejected at any age; of the rest only what is newer was looked at.
    assert reasons == {
        generation: FATES[fate][1]
        for generation, fate in enumerate(fates)
        if fate == DEAD_ATTEMPT or (fate != INTACT and generation > newest)
    }


def another_bad_group_never_hides_a_good_one(fates: tuple[int, ...], bad: int) -> None:
    """Whatever newer group is added to a store that has an intact one, it is still found."""
    assert len(fates) <= 3
    assert all(0 <= fate < len(FATES) for fate in fates)
    assert INTACT in fates
    assert 0 < bad < len(FATES)

    before, after = _scan(fates), _scan((*fates, bad))

    assert before.group is not None
    assert after.group == before.group


def _scan(fates: tuple[int, ...]) -> Scan:
    content: dict[str, bytes] = {}
    names = []
    for generation, fate in enumerate(fates):
        name = str(GroupName(generation, 5, fate == DEAD_ATTEMPT))
        names.append(name)
        _put(content, f"{STORE}/{name}", generation, FATES[fate][0])
    return newest_valid(Files(content, tuple(names)), STORE, names)


def _put(content: dict[str, bytes], home: str, generation: int, fate: str) -> None:
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
