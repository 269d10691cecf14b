"""The answer of a recovery: on a mounted image by the production code, and on the model's disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from powercut.filesystem.content import Content, run_of
from powercut.filesystem.inodes import ROOT, Directory, File, Inode, SymlinkInode
from powercut.filesystem.state import State
from powercut.profile import Profile
from powercut.simulation.model_disk import ModelDisk, SubjectDisk
from powercut.simulation.subject import Subject
from powercut_rig.mounted.rooted_disk import RootedDisk
from powercut_rig.mounted.tree_reader import Tag

PlainTree = Mapping[str, bytes | None]
"""Relative path to content; None for a directory."""


@frozen
class RecoveryAnswer:
    """The parts that a recovery handed out and their generation, or the error that it ended in.

    None for no group.
    """

    parts: Mapping[str, bytes] | None
    error: str = ""
    generation: int | None = None


def recover(subject: Subject, profile: Profile, disk: SubjectDisk) -> RecoveryAnswer:
    """Run the subject's writable recovery on a disk; whatever it raises is the answer."""
    try:
        session = subject.open(disk, profile)
        try:
            found = session.recover()
        finally:
            session.close()
    except Exception as error:
        return RecoveryAnswer(None, type(error).__name__)
    if found is None:
        return RecoveryAnswer(None)
    return RecoveryAnswer(dict(found.parts), generation=found.generation)


def recover_for_real(subject: Subject, profile: Profile, root: str) -> RecoveryAnswer:
    """The answer of the production code below `root`."""
    return recover(subject, profile, RootedDisk(subject.protocol.real_disk(), root))


def recover_on_model(subject: Subject, profile: Profile, tree: PlainTree) -> RecoveryAnswer:
    """The answer of the same code on the model's disk, which holds that tree."""
    return recover(subject, profile, ModelDisk(state_of(tree)))


def state_of(tree: Mapping[str, bytes | Tag | None], links: Iterable[Sequence[str]] = ()) -> State:
    """A state in which that tree is durable; the paths of each group of `links` are one file.

    What the model has no kind for is a file that says what it is.
    """
    numbers = {path: number for number, path in enumerate(sorted(tree), start=ROOT + 1)}
    for first, *others in links:
        numbers |= dict.fromkeys(others, numbers[first])
    entries: dict[str, dict[str, int]] = {"": {}}
    inodes: dict[int, Inode] = {}
    for path, value in sorted(tree.items()):
        head, _, name = path.rpartition("/")
        entries[head][name] = numbers[path]
        if value is None:
            entries[path] = {}
        else:
            inodes[numbers[path]] = _inode_of(value)
    for path, names in entries.items():
        inodes[numbers[path] if path else ROOT] = Directory(names)
    return State.settled(inodes, ROOT + 1 + len(tree))


def _inode_of(value: bytes | Tag) -> Inode:
    if isinstance(value, Tag) and value.kind == "symlink":
        return SymlinkInode(value.detail)
    content = value.said if isinstance(value, Tag) else value
    return File(Content(len(content)).overlay(run_of(0, content)))
