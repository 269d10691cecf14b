"""What a recovery answers: on a mounted image by the production code, and on the model's disk."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from powercut.content import Content, run_of
from powercut.disk import Disk, ModelDisk
from powercut.profile import Profile
from powercut.state import State
from powercut.subject import Subject
from powercut.tree import ROOT, Directory, File, Inode
from powercut_rig.rooted import RootedDisk

PlainTree = Mapping[str, bytes | None]
"""Relative path to content; None for a directory."""


@frozen
class Answer:
    """The parts that a recovery handed out, None for no group, or the error that it ended in."""

    parts: Mapping[str, bytes] | None
    error: str = ""


def recover(subject: Subject, profile: Profile, disk: Disk) -> Answer:
    """Run the subject's writable recovery on a disk; whatever it raises is the answer."""
    try:
        session = subject.open(disk, profile)
        try:
            found = session.recover()
        finally:
            session.close()
    except Exception as error:
        return Answer(None, type(error).__name__)
    return Answer(None if found is None else dict(found.parts))


def recover_for_real(subject: Subject, profile: Profile, root: str) -> Answer:
    """The answer of the production code below `root`."""
    return recover(subject, profile, RootedDisk(subject.protocol.real_disk(), root))


def recover_on_model(subject: Subject, profile: Profile, tree: PlainTree) -> Answer:
    """The answer of the same code on the model's disk, which holds that tree."""
    return recover(subject, profile, ModelDisk(state_of(tree)))


def state_of(tree: PlainTree) -> State:
    """A state in which that tree is durable."""
    entries: dict[str, dict[str, int]] = {"": {}}
    inodes: dict[int, Inode] = {}
    directories: dict[str, int] = {"": ROOT}
    for number, (path, content) in enumerate(sorted(tree.items()), start=ROOT + 1):
        head, _, name = path.rpartition("/")
        entries[head][name] = number
        if content is None:
            entries[path], directories[path] = {}, number
        else:
            inodes[number] = File(Content(len(content)).overlay(run_of(0, content)))
    for path, number in directories.items():
        inodes[number] = Directory(entries[path])
    return State.settled(inodes, ROOT + 1 + len(tree))
