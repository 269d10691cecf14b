"""A cache of what policies see of groups, so that retention after each save reads none again."""

from __future__ import annotations

from typing import Final

from lastgood.backends.interface import DiskReader, join
from lastgood.format.metadata import to_text
from lastgood.format.names import MANIFEST, GroupName
from lastgood.recovery.recovery import Group, Rejection, read_group
from lastgood.retention.policies import Candidate
from lastgood.retention.stamps import Stamps

_METADATA_LIMIT_BYTES: Final = 4096
_PATHS: Final = ("", MANIFEST)


class ManifestCache:
    """The facts of manifests that were read, each with the stamps that it had before that.

    One that was replaced or touched is read again, and so is each where the disk gives no stamps.
    A group takes about a kilobyte, and its metadata some times 4 KiB at most: where the text of
    that is longer nothing is remembered.
    """

    def __init__(self, reader: DiskReader, store: str) -> None:
        self._reader, self._store = reader, store
        self._stamps = Stamps(reader)
        self._known: dict[GroupName, tuple[bytes, Candidate]] = {}

    def look(self, name: GroupName) -> Candidate | Rejection:
        """The facts about a group, or why it is none. Errors as `read_group`."""
        stamps = self._stamps.of(join(self._store, str(name)), _PATHS)
        known = self._known.get(name)
        if known is not None and known[0] == stamps:
            return known[1]
        group = read_group(self._reader, self._store, name)
        if isinstance(group, Rejection):
            return group
        found = to_candidate(group)
        if stamps is not None and len(to_text(dict(found.metadata))) <= _METADATA_LIMIT_BYTES:
            self._known[name] = stamps, found
        return found

    def forget(self, name: GroupName) -> None:
        """Let go of a group that is no more."""
        self._known.pop(name, None)


def to_candidate(group: Group | Candidate) -> Candidate:
    """The facts about a group that a policy sees."""
    if isinstance(group, Candidate):
        return group
    manifest = group.manifest
    return Candidate(group.name.generation, group.name.step, manifest.saved_at_s, manifest.metadata)
