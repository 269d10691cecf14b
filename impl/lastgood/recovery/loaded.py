"""What a load hands out: a group that was verified, and its parts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, SupportsIndex

from attrs import field, frozen

from lastgood.backends.interface import Maps, OpensFiles, Reader, ReadsAndDigests, join
from lastgood.buffers import fresh_memory
from lastgood.errors import UsageError
from lastgood.format.chunks import Span
from lastgood.format.digests import digest_of
from lastgood.parts.damage_survey import Each
from lastgood.parts.part_reader import digests_of
from lastgood.recovery.partial_load import checked_range, read_part, read_range
from lastgood.recovery.recovery import Group, Rejection, find_part

Hold = Literal["nothing", "memory", "map"]
"""What a load keeps of the bytes that it verified: nothing, all of them, or a map of each file."""
HOLDS: Final[tuple[Hold, ...]] = ("nothing", "memory", "map")


class Holding:
    """A reader that keeps what it digests, so that what was verified is what is handed out.

    Each file is read once: into memory, or mapped where the disk can. `held` has the bytes of
    every path that was digested, but for those of groups that were rejected: they are let go as
    soon as that is known, so that a load needs the memory of one group and not of all it tried.
    """

    def __init__(self, reader: Reader, hold: Hold) -> None:
        self.held: dict[str, memoryview] = {}
        self._reader, self._hold = reader, hold
        self._rooms: dict[str, memoryview] = {}
        self._lock = threading.Lock()

    def kind(self, path: str) -> str:
        """See `Reader.kind`."""
        return self._reader.kind(path)

    def names(self, path: str) -> list[str]:
        """See `Reader.names`."""
        return self._reader.names(path)

    def read(self, path: str, limit_bytes: int) -> bytes:
        """See `Reader.read`."""
        return self._reader.read(path, limit_bytes)

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """See `Reader.digest`; keeps the bytes."""
        return self.digest_with(path, limit_bytes, "sha256")

    def digest_with(self, path: str, limit_bytes: int, algorithm: str) -> tuple[int, str]:
        """See `DigestsOtherwise.digest_with`; keeps the bytes."""
        reader = self._reader
        if self._hold == "map" and isinstance(reader, Maps):
            data = reader.map(path, limit_bytes)
            digest = digest_of(data, algorithm)
        elif isinstance(reader, ReadsAndDigests):
            data, digest = reader.read_and_digest(path, limit_bytes, algorithm)
        else:
            data = memoryview(reader.read(path, limit_bytes))
            digest = digest_of(data, algorithm)
        self.held[path] = data
        return len(data), digest

    def digest_chunks(self, path: str, span: Span, algorithm: str) -> tuple[int, tuple[str, ...]]:
        """See `DigestsChunks.digest_chunks`; keeps the bytes."""
        reader, size_bytes = self._reader, span.file_bytes
        if not (self._hold == "map" and isinstance(reader, Maps)) and isinstance(
            reader, OpensFiles
        ):
            with reader.open_file(path, size_bytes) as file:
                if file.size_bytes != size_bytes:
                    return file.size_bytes, ()
                # Nothing is taken for a size that only the manifest knows of.
                room = self._kept(path, lambda: memoryview(fresh_memory(size_bytes)))
                return size_bytes, digests_of(file, span, algorithm, lambda a, b: room[a:b])

        def whole() -> memoryview:
            if self._hold == "map" and isinstance(reader, Maps):
                return reader.map(path, size_bytes)
            return memoryview(reader.read(path, size_bytes))

        data = self._kept(path, whole)
        return len(data), tuple(digest_of(data[a:b], algorithm) for a, b in span)

    def let_go(self, folder: str) -> None:
        """See `LetsGo.let_go`."""
        for kept in (self.held, self._rooms):
            for path in [path for path in kept if path.startswith(f"{folder}/")]:
                del kept[path]

    def _kept(self, path: str, make: Callable[[], memoryview]) -> memoryview:
        """The memory of a file's bytes, made by the first thread that comes to it."""
        with self._lock:
            if path not in self._rooms:
                self._rooms[path] = make()
                self.held[path] = self._rooms[path].toreadonly()
            return self._rooms[path]


@frozen
class _Parts(Mapping[str, "bytes | memoryview"]):
    """A group of which parts can be read. Whatever is handed out was verified."""

    group: Group
    rejected: tuple[Rejection, ...]
    _reader: Reader = field(repr=False)
    _held: Mapping[str, memoryview] = field(factory=dict, repr=False, eq=False)
    _each: Each = field(default=map, repr=False, eq=False)

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
        """What the caller of `save` wrote beside the parts."""
        return self.group.manifest.metadata

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts' paths, in the order in which they were saved."""
        return self.group.part_paths

    def __getitem__(self, part: str) -> bytes | memoryview:
        path = join(self.group.path, self._named(part))
        return self._held[path] if path in self._held else self.read(part)

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def read(self, part: str) -> bytes:
        """The bytes of one part, verified as they are handed out.

        UsageError where there is no such part; IntegrityError where it has changed since it was
        saved, or its group was pruned (reason "gone"); StorageError.
        """
        path = join(self.group.path, find_part(self.group, part).path)
        held = self._held.get(path)
        if held is not None:
            return bytes(held)
        return read_part(self._reader, self.group, part, each=self._each)

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
        found, offset, size = checked_range(self.group, part, offset_bytes, size_bytes)
        held = self._held.get(join(self.group.path, found.path))
        if held is not None:
            return held[offset : offset + size]
        return read_range(self._reader, self.group, found, offset, size, each=self._each)

    def _named(self, part: str) -> str:
        try:
            return find_part(self.group, part).path
        except UsageError as error:
            raise KeyError(part) from error


@frozen
class Loaded(_Parts):
    """A group that was verified in full, and every newer one that was rejected on the way.

    A mapping from the parts' paths to their bytes. `rejected` gives for each newer directory that
    was passed over its name, a reason for machines and a detail for people.
    """

    def path(self, part: str) -> Path:
        """Where a part lies, for a loader that wants a file: it was verified by the load."""
        return Path(join(self.group.path, find_part(self.group, part).path))


@frozen
class Opened(_Parts):
    """A group that was chosen by its manifest and its sizes; `verified` names the parts read.

    A mapping as `Loaded`. Of a part that is not in `verified` no byte was looked at: reading it,
    or a range of it, may still end in an IntegrityError, and does not fall back by itself.
    """

    verified: frozenset[str] = field(kw_only=True)

    def path(self, part: str) -> Path:
        """Where a verified part lies, for a loader that wants a file.

        UsageError for any other part: a loader would take its bytes unverified.
        """
        found = find_part(self.group, part)
        if found.path not in self.verified:
            raise UsageError(
                f"part {part!r} of {self.group.name} was not verified: read it, which verifies, "
                f"or open the group with parts=({part!r},)."
            )
        return Path(join(self.group.path, found.path))
