"""Carries out steps on a disk: the only place where a plan meets I/O."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Final

from lastgood.backends.capabilities import fast_reads, full_sync, write_hints
from lastgood.backends.interface import Disk
from lastgood.format.chunks import ChunkHasher, Chunking, PartDigest
from lastgood.format.manifest import MAX_SIZE_BYTES, Part
from lastgood.parts.part_reader import digest_whole
from lastgood.parts.part_writer import PartSource, stream_part, stream_part_in_two_threads
from lastgood.parts.verify import digest_file
from lastgood.protocol import steps
from lastgood.threads import SHARED_BYTES, Helper, share

RecordEncoder = Callable[[str, tuple[Part, ...]], bytes]
"""Gives the bytes of a record of that name, from the parts written so far."""

StepObserver = Callable[[steps.SimpleStep, float], None]
"""Told of each step that was carried out, and how many seconds it took. Any thread may call it."""

BIG_BYTES: Final = 8 << 20
"""A part of that size is worth a thread, and its space is asked for before its first byte."""

MAX_OPEN_FILES: Final = 64
"""So many small parts one thread has open at a time: a process may often have 256 files open."""

Branch = tuple[steps.SimpleStep, ...]
_HAS_PART: Final = (steps.WritePart, steps.ReadPart)


class StoppedError(Exception):
    """Another branch failed: this one did not go on."""


class StepExecutor:
    """Carries out one plan and remembers what it made.

    Of branches that owe each other no order, big parts are carried out one after the other, and
    small ones `max_open_files` at a time: all are written, then all are synced. With more than one
    of `workers`, as many threads share that. What a caller's own iterator gives is always taken in
    the caller's thread. `failures` are the steps that the disk refused, in the order in which they
    were seen. `total_bytes` is the size of all parts, where it is known: threads are for more than
    a little. `chunking` says how parts are cut; the digests of a part's chunks may fill
    `room_bytes`.
    """

    def __init__(
        self,
        disk: Disk,
        content: Mapping[str, PartSource] | None = None,
        record: RecordEncoder | None = None,
        *,
        algorithm: str = "sha256",
        chunking: Chunking | None = None,
        room_bytes: int = 0,
        total_bytes: int | None = None,
        workers: int = 1,
        max_open_files: int = MAX_OPEN_FILES,
        clock: Callable[[], float] = lambda: 0.0,
        observe: StepObserver = lambda _step, _seconds: None,
    ) -> None:
        self.failures: list[tuple[steps.SimpleStep, OSError]] = []
        self._disk, self._content, self._record = disk, content or {}, record
        self._algorithm, self._workers, self._max_open_files = algorithm, workers, max_open_files
        self._chunking, self._room_bytes = chunking, room_bytes
        self._clock, self._observe = clock, observe
        self._hints = write_hints(disk)
        self._parts: dict[str, Part] = {}
        self._is_stopped = False
        self._open: list[str] = []
        self._files: list[str] = []
        self._dirs: list[str] = []
        self._stream = stream_part
        if total_bytes is not None and total_bytes < SHARED_BYTES:
            self._workers = 1

    def execute(self, step: steps.Step) -> None:
        """Carry out one step. OSError from the disk; UsageError where a part's source fails."""
        if not isinstance(step, steps.Together):
            self._simple(step)
            return
        batches = self._batches(step.branches)
        # With few of them a thread for each would leave the other processors idle.
        self._stream = (
            stream_part_in_two_threads if self._workers >= 2 * len(batches) else stream_part
        )
        if self._workers > 1 and len(batches) > 1:
            self._in_threads(batches)
        else:
            for batch in batches:
                self._branch(batch)

    @property
    def is_poisoned(self) -> bool:
        """A sync failed, or the disk is broken: nobody knows what is on the medium."""
        return any(map(_is_poison, self.failures))

    @property
    def worst(self) -> tuple[steps.SimpleStep, OSError] | None:
        """The failure to speak of: of several, the first that poisons."""
        return next(filter(_is_poison, self.failures), next(iter(self.failures), None))

    def release(self) -> None:
        """Close the files that a failed step left open, if any."""
        while self._open:
            with contextlib.suppress(OSError):
                self._disk.close(self._open.pop())

    def undo(self) -> bool:
        """Remove what the plan made, newest first, so the manifest before the parts.

        True if all of it is gone. Only for a plan that has not been committed.
        """
        self.release()
        clean = True
        for remove, paths in ((self._disk.unlink, self._files), (self._disk.rmdir, self._dirs)):
            for path in reversed(paths):
                try:
                    remove(path)
                except FileNotFoundError:
                    pass
                except OSError:
                    clean = False
        return clean

    def _batches(self, branches: Sequence[Branch]) -> list[Branch]:
        """Batches, each for one thread: a big part alone, or small ones in turn, step by step.

        Of files that are all written before the first of them is synced, that sync makes most
        durable: the others find little left to do, and a small save is little but its syncs.
        """
        batches: list[Branch] = []
        small: list[Branch] = []
        filled_bytes = 0
        for branch in branches:
            size_bytes = self._size_bytes(branch)
            if size_bytes >= BIG_BYTES:
                batches.append(branch)
                continue
            if len(small) == self._max_open_files or filled_bytes + size_bytes > BIG_BYTES:
                batches.append(_in_turn(small))
                small, filled_bytes = [], 0
            small.append(branch)
            filled_bytes += size_bytes
        return [*batches, _in_turn(small)] if small else batches

    def _size_bytes(self, branch: Branch) -> int:
        """The size of all that a branch writes. One that is not known beforehand counts as big."""
        contents = [self._content.get(s.part) for s in branch if isinstance(s, _HAS_PART)]
        sizes = [None if each is None else each.size_bytes for each in contents]
        return sum(BIG_BYTES if size is None else size for size in sizes)

    def _in_threads(self, branches: Sequence[Branch]) -> None:
        """Every branch, each in one thread. All threads have ended when this returns or raises."""
        ours = [branch for branch in branches if self._is_ours(branch)]
        theirs = [branch for branch in branches if not self._is_ours(branch)]

        def their_own() -> None:
            for branch in theirs:
                self._branch_or_stop(branch)

        # While this thread waits for the caller's iterators, as many others as ever are at work.
        more = self._workers if theirs else self._workers - 1
        share(self._branch_or_stop, ours, more, meanwhile=their_own, stop=self._stop)
        if self._is_stopped:
            raise StoppedError

    def _is_ours(self, branch: Branch) -> bool:
        names = [s.part for s in branch if isinstance(s, steps.WritePart)]
        return all(self._content[name].is_ours for name in names)

    def _branch_or_stop(self, branch: Branch) -> None:
        """Carry out a branch. One that was told to stop has no error of its own to tell."""
        try:
            self._branch(branch)
        except StoppedError:
            pass
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        """Tell the branches to stop: a flag and no lock, which Ctrl-C might find taken."""
        self._is_stopped = True

    def _branch(self, branch: Branch) -> None:
        for step in branch:
            self._simple(step)

    def _simple(self, step: steps.SimpleStep) -> None:
        if self._is_stopped:
            raise StoppedError
        begun_s = self._clock()
        try:
            self._do(step)
        except OSError as error:
            self.failures.append((step, error))
            raise
        self._observe(step, self._clock() - begun_s)

    def _do(self, step: steps.SimpleStep) -> None:
        disk = self._disk
        match step:
            case steps.MakeDir(path=path):
                _make(disk.mkdir, path, self._dirs)
            case steps.CreateFile(path=path):
                _make(disk.create, path, self._files, self._open)
            case steps.WritePart(path=path, part=part):
                self._write_part(path, part)
            case steps.ReadPart(path=path, part=part):
                self._read_part(path, part)
            case steps.WriteRecord(path=path, record=record):
                if self._record is None:
                    raise TypeError("this plan has records, and nothing to make them of")
                disk.write(path, self._record(record, self._written()))
            case steps.SyncFile(path=path):
                disk.fsync(path)
            case steps.CloseFile(path=path):
                self._close(path)
            case steps.SyncDir(path=path):
                disk.fsync_dir(path)
            case steps.FullSyncDir(path=path):
                # A disk that knows no stronger sync than fsync has none: it flushes the drive.
                (full_sync(disk) or disk.fsync_dir)(path)
            case steps.RenameEntry(src=src, dst=dst):
                disk.rename(src, dst)
            case steps.Remove(path=path):
                disk.unlink(path)
            case steps.RemoveDir(path=path):
                disk.rmdir(path)

    def _close(self, path: str) -> None:
        """Close a file. It is forgotten last: after Ctrl-C in between `release` closes it."""
        try:
            self._disk.close(path)
        except OSError:
            self._open.remove(path)
            raise
        self._open.remove(path)

    def _written(self) -> tuple[Part, ...]:
        """The parts in the order in which the caller gave them, whichever was finished first."""
        order = [name for name in self._content if name in self._parts]
        order += [name for name in sorted(self._parts) if name not in self._content]
        return tuple(self._parts[name] for name in order)

    def _write_part(self, path: str, name: str) -> None:
        content = self._content[name]
        size_bytes = content.size_bytes
        is_big = size_bytes is None or size_bytes >= BIG_BYTES
        if size_bytes and is_big:
            self._hints.preallocate(path, size_bytes)

        def write(piece: bytes | memoryview) -> None:
            if self._is_stopped:
                raise StoppedError
            self._disk.write(path, piece)

        # A file may have grown since its size was asked for.
        known = size_bytes if content.digest_from == "memory" else None
        with self._digest(known, is_big) as digest:
            size_bytes = (self._stream if is_big else stream_part)(name, content, digest, write)
            self._note_part(name, size_bytes, digest, content.digest_from)
        if not is_big:
            # It is synced when the others of its batch are written: until then the disk can work.
            self._hints.write_early(path)

    def _read_part(self, path: str, name: str) -> None:
        if self._chunking is None:
            size_bytes, found = digest_file(self._disk, path, MAX_SIZE_BYTES, self._algorithm)
            self._parts[name] = Part(name, size_bytes, found, "file")
            return
        with (
            fast_reads(self._disk).open_file(path, MAX_SIZE_BYTES) as file,
            # It may still be growing: what is digested is what is there.
            self._digest(None, file.size_bytes >= BIG_BYTES) as digest,
        ):
            size_bytes = digest_whole(file, digest)
            self._note_part(name, size_bytes, digest, "file")

    @contextlib.contextmanager
    def _digest(self, size_bytes: int | None, is_big: bool) -> Iterator[PartDigest]:
        """The digest of a part of that size, and of its chunks where it can have some."""
        chunking = self._chunking
        if chunking is None or (size_bytes is not None and not chunking.count(size_bytes)):
            yield PartDigest(self._algorithm)
            return
        chunks = ChunkHasher(chunking, self._room_bytes)
        # Twice the hashing: where processors are free for it, in a thread of its own.
        if is_big and self._stream is stream_part_in_two_threads:
            with Helper() as helper:
                yield PartDigest(self._algorithm, chunks, helper)
        else:
            yield PartDigest(self._algorithm, chunks)

    def _note_part(self, name: str, size_bytes: int, digest: PartDigest, origin: str) -> None:
        self._parts[name] = Part(name, size_bytes, digest.hexdigest(), origin, digest.chunks())


def _in_turn(branches: Sequence[Branch]) -> Branch:
    """The first step of each, then the second of each, and so on."""
    turns = zip_longest(*branches)
    return tuple(step for turn in turns for step in turn if step is not None)


def _is_poison(failure: tuple[steps.SimpleStep, OSError]) -> bool:
    step, error = failure
    syncing = (
        steps.SyncFile | steps.CloseFile | steps.SyncDir | steps.FullSyncDir | steps.RenameEntry
    )
    return isinstance(step, syncing) or error.errno == errno.EIO


def _make(make: Callable[[str], None], path: str, *noted: list[str]) -> None:
    """Make something, and note it. Noted first: Ctrl-C may come right after the making."""
    for names in noted:
        names.append(path)
    try:
        make(path)
    except OSError:
        # It is not ours: somebody else's may be there.
        for names in noted:
            names.remove(path)
        raise
