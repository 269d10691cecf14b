"""The results of loads: a group that was verified, and its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsIndex

from attrs import field, frozen

from lastgood.backends.interface import DiskReader, join
from lastgood.errors import UsageError
from lastgood.parts.thread_pool import ParallelMap
from lastgood.recovery.partial_load import check_range, read_part, read_range
from lastgood.recovery.recovery import Group, Rejection, find_part


@frozen(repr=False)
class _Parts(Mapping[str, "bytes | memoryview"]):
    """A group of which parts can be read. Whatever is handed out was verified."""

    group: Group
    rejected: tuple[Rejection, ...]
    _reader: DiskReader = field(repr=False)
    _held: Mapping[str, memoryview] = field(factory=dict, repr=False, eq=False)
    _parallel_map: ParallelMap = field(default=map, repr=False, eq=False, alias="each")

    def __repr__(self) -> str:
        name, parts = self.group.name, len(self.group.manifest.parts)
        past = f", past {len(self.rejected)}" if self.rejected else ""
        return f"<{type(self).__name__} {name}: {parts} parts{past}>"

    @property
    def generation(self) -> int:
        """The number that only grows from save to save."""
        return self.group.name.generation

    @property
    def step(self) -> int:
        """The training step that the group was saved at."""
        return self.group.name.step

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata that the caller of `save` gave."""
        return self.group.manifest.metadata

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts' paths, in the order in which they were saved."""
        return self.group.part_paths

    def __getitem__(self, part: str) -> bytes | memoryview:
        if part not in self:
            raise KeyError(part)
        path = join(self.group.path, part)
        return self._held[path] if path in self._held else self.read(part)

    def __contains__(self, part: object) -> bool:
        # A Mapping's own reads the part, and hashes it.
        return isinstance(part, str) and part in self.group.manifest.part_by_path

    def __iter__(self) -> Iterator[str]:
        return iter(self.group.manifest.part_by_path)

    def __len__(self) -> int:
        return len(self.group.manifest.parts)

    def read(self, part: str) -> bytes:
        """The bytes of one part, verified as they are handed out.

        UsageError where there is no such part; IntegrityError where it has changed since it was
        saved, or its group was pruned (reason "gone"); StorageError.
        """
        path = join(self.group.path, find_part(self.group, part).path)
        held = self._held.get(path)
        if held is not None:
            return bytes(held)
        return read_part(self._reader, self.group, part, parallel_map=self._parallel_map)

    def read_range(
        self, part: str, offset_bytes: SupportsIndex = 0, size_bytes: SupportsIndex | None = None
    ) -> memoryview:
        """Some bytes of a part, verified as they are handed out: to its end without a size.

        Read are the chunks that the range touches, and each must have the digest that MANIFEST
        says; nothing is learnt of the others. Without chunks (see `chunk_bytes` of `Store`) the
        whole part is read and verified for it. Memory is taken for the range alone.

        UsageError where the part has no such range. IntegrityError names the chunk and its bytes,
        also in `damaged`, and no byte is handed out; reason "gone" as in `read`. StorageError.
        """
        found, offset, size = check_range(self.group, part, offset_bytes, size_bytes)
        held = self._held.get(join(self.group.path, found.path))
        if held is not None:
            return held[offset : offset + size]
        return read_range(
            self._reader, self.group, found, offset, size, parallel_map=self._parallel_map
        )


@frozen(repr=False)
class Loaded(_Parts):
    """A group that was verified in full, and every newer one that was rejected on the way.

    A mapping from the parts' paths to their bytes. `rejected` gives for each newer directory that
    was passed over its name, a reason for machines and a detail for people.
    """

    def path(self, part: str) -> Path:
        """The path of a part, for a loader that wants a file: it was verified by the load."""
        return Path(join(self.group.path, find_part(self.group, part).path))


@frozen(repr=False)
class Opened(_Parts):
    """A group that was chosen by its manifest and its sizes; `verified` names the parts read.

    A mapping as `Loaded`. Of a part that is not in `verified` no byte was looked at: reading it,
    or a range of it, may still end in an IntegrityError, and does not fall back by itself.
    """

    verified: frozenset[str] = field(kw_only=True)

    def path(self, part: str) -> Path:
        """The path of a verified part, for a loader that wants a file.

        UsageError for any other part: a loader would take its bytes unverified.
        """
        found = find_part(self.group, part)
        if found.path not in self.verified:
            raise UsageError(
                f"part {part!r} of {self.group.name} was not verified: read it, which verifies, "
                f"or open the group with parts=({part!r},)."
            )
        return Path(join(self.group.path, found.path))
