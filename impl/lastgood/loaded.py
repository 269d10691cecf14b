"""What a load hands out: a group that was verified, and its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from attrs import field, frozen

from lastgood.disk import Maps, Reader, ReadsAndDigests, join
from lastgood.errors import UsageError
from lastgood.hashing import digest_of
from lastgood.recovery import Group, Rejection, find_part, read_part

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

    def let_go(self, folder: str) -> None:
        """See `LetsGo.let_go`."""
        self.held = {path: d for path, d in self.held.items() if not path.startswith(f"{folder}/")}


@frozen
class Loaded(Mapping[str, "bytes | memoryview"]):
    """A group that was verified in full, and every newer one that was rejected on the way.

    A mapping from the parts' paths to their bytes. `rejected` gives for each newer directory that
    was passed over its name, a reason for machines and a detail for people.
    """

    group: Group
    rejected: tuple[Rejection, ...]
    _reader: Reader = field(repr=False)
    _held: Mapping[str, memoryview] = field(factory=dict, repr=False, eq=False)

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

        UsageError where there is no such part; IntegrityError where it has changed since the
        load, or its group was pruned (reason "gone"); StorageError.
        """
        path = join(self.group.path, find_part(self.group, part).path)
        held = self._held.get(path)
        return read_part(self._reader, self.group, part) if held is None else bytes(held)

    def path(self, part: str) -> Path:
        """Where a part lies, for a loader that wants a file: it was verified by the load."""
        return Path(join(self.group.path, find_part(self.group, part).path))

    def _named(self, part: str) -> str:
        try:
            return find_part(self.group, part).path
        except UsageError as error:
            raise KeyError(part) from error
