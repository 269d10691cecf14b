"""A cache of verified groups, so that retention after each save need not read them all again."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from lastgood.backends.interface import DiskReader, join
from lastgood.format.names import MANIFEST, GroupName
from lastgood.parts.thread_pool import ParallelMap
from lastgood.protocol.plan import subdirs
from lastgood.recovery.recovery import Group, Rejection, examine_parts, read_group
from lastgood.retention.stamps import Stamps

_MANIFEST: Final = ("", MANIFEST)


@frozen
class Stamped:
    """A group whose manifest was read, and the stamps of all of it before it was verified.

    `paths` are those of its parts and their directories. Those of the manifest and of the group
    itself were taken before the manifest was read.
    """

    group: Group
    paths: tuple[str, ...]
    stamps: tuple[bytes, bytes] | None


class VerifiedCache:
    """Groups that were verified in full, each with the stamps that its files had before that.

    A stamp changes with every write, truncation and replacement. What rots on the medium keeps
    its own, so this never vouches for the group that justifies a deletion. Where the disk gives
    no stamps nothing is remembered. A group takes some hundred bytes, and its paths, which it
    shares with the group before it where they are the same.
    """

    def __init__(self, reader: DiskReader, store: str) -> None:
        self._reader, self._store = reader, store
        self._stamps = Stamps(reader)
        self._known: dict[GroupName, tuple[tuple[bytes, bytes], tuple[str, ...]]] = {}
        self._paths: tuple[str, ...] = ()

    def read(self, name: GroupName) -> Stamped | Rejection:
        """Read a group's manifest, and take the stamps of all that it is made of."""
        home = self._home(name)
        first = self._stamps.of(home, _MANIFEST)
        group = read_group(self._reader, self._store, name)
        if isinstance(group, Rejection):
            return group
        paths = (*subdirs(group.part_paths), *group.part_paths)
        rest = self._stamps.of(home, paths)
        return Stamped(group, paths, None if first is None or rest is None else (first, rest))

    def examine(self, name: GroupName, parallel_map: ParallelMap = map) -> Group | Rejection:
        """Verify a group in full, and remember it if it is valid. StorageError."""
        read = self.read(name)
        if isinstance(read, Rejection):
            return read
        answer = examine_parts(self._reader, read.group, parallel_map)
        if isinstance(answer, Group):
            self.remember(read)
        return answer

    def remember(self, read: Stamped) -> None:
        """Note that a group was verified after these stamps were taken."""
        if read.stamps is not None:
            if read.paths != self._paths:
                self._paths = read.paths
            self._known[read.group.name] = read.stamps, self._paths

    def vouches_for(self, name: GroupName) -> bool:
        """Say whether the group was verified in full and has not been touched since."""
        if name not in self._known:
            return False
        stamps, paths = self._known[name]
        home = self._home(name)
        return stamps == (self._stamps.of(home, _MANIFEST), self._stamps.of(home, paths))

    def forget(self, name: GroupName) -> None:
        """Let go of a group that is no more."""
        self._known.pop(name, None)

    def _home(self, name: GroupName) -> str:
        return join(self._store, str(name))
