"""A cache of verified groups, so that retention after each save need not read them all again."""

from __future__ import annotations

from lastgood.backends.capabilities import system_info
from lastgood.backends.interface import DiskReader, join
from lastgood.format.names import MANIFEST, GroupName
from lastgood.protocol.plan import subdirs
from lastgood.recovery.recovery import Group

Stamped = tuple[tuple[int, ...], ...]


class VerifiedCache:
    """Groups that were verified in full, each with the stamps that its files had before that.

    A stamp changes with every write, truncation and replacement. What rots on the medium keeps
    its own, so this never vouches for the group that justifies a deletion. Where the disk gives
    no stamps nothing is remembered.
    """

    def __init__(self, reader: DiskReader) -> None:
        self._info = system_info(reader)
        self._known: dict[GroupName, Stamped] = {}

    def stamps_of(self, group: Group) -> Stamped | None:
        """Take the stamps of all that a group is made of; None where one cannot be had."""
        paths = ("", MANIFEST, *subdirs(group.part_paths), *group.part_paths)
        stamps = []
        for path in paths:
            try:
                stamp = self._info.stamp(join(group.path, path) if path else group.path)
            except OSError:
                return None
            if stamp is None:
                return None
            stamps.append(stamp)
        return tuple(stamps)

    def remember(self, name: GroupName, stamps: Stamped | None) -> None:
        """Note that a group was verified after these stamps were taken."""
        if stamps is not None:
            self._known[name] = stamps

    def vouches_for(self, group: Group) -> bool:
        """Say whether the group was verified in full and has not been touched since."""
        known = self._known.get(group.name)
        return known is not None and known == self.stamps_of(group)

    def forget(self, name: GroupName) -> None:
        """Let go of a group that is no more."""
        self._known.pop(name, None)
