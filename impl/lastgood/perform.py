"""Carries out steps on a disk: the only place where a plan meets I/O."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from attrs import frozen

from lastgood import steps
from lastgood.disk import Disk
from lastgood.errors import UsageError
from lastgood.manifest import Part

CHUNK_BYTES: Final = 4 << 20
"""Large enough to be cheap, small enough to be hashed and written while still in the cache."""

Record = Callable[[str, tuple[Part, ...]], bytes]
"""Gives the bytes of a record of that name, from the parts written so far."""


@frozen
class Content:
    """The bytes of one part, in chunks that may be taken once. `digest_from` as in `Part`."""

    chunks: Iterable[bytes | memoryview]
    digest_from: str = "memory"


class Performer:
    """Carries out one plan and remembers what it made. `parts` holds what was written so far."""

    def __init__(
        self, disk: Disk, content: Mapping[str, Content] | None = None, record: Record | None = None
    ) -> None:
        self.parts: list[Part] = []
        self._disk = disk
        self._content = content or {}
        self._record = record
        self._open: str | None = None
        self._files: list[str] = []
        self._dirs: list[str] = []

    def perform(self, step: steps.Step) -> None:
        """Carry out one step. OSError from the disk; UsageError where a part's source fails."""
        match step:
            case steps.MakeDir(path=path):
                _made(self._dirs, path, self._disk.mkdir)
            case steps.CreateFile(path=path):
                self._open = path
                _made(self._files, path, self._disk.create)
            case steps.WritePart(path=path, part=part):
                self._write_part(path, part)
            case steps.WriteRecord(path=path, record=record):
                if self._record is None:
                    raise TypeError("this plan has records, and nothing to make them of")
                self._disk.write(path, self._record(record, tuple(self.parts)))
            case steps.SyncFile(path=path):
                self._disk.fsync(path)
            case steps.CloseFile(path=path):
                self._open = None
                self._disk.close(path)
            case steps.SyncDir(path=path):
                self._disk.fsync_dir(path)
            case steps.Rename(src=src, dst=dst):
                self._disk.rename(src, dst)
            case steps.Remove(path=path):
                self._disk.unlink(path)

    def release(self) -> None:
        """Close the file that a failed step left open, if any."""
        if self._open is not None:
            path, self._open = self._open, None
            with contextlib.suppress(OSError):
                self._disk.close(path)

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

    def _write_part(self, path: str, name: str) -> None:
        source = self._content[name]
        digest, size_bytes = hashlib.sha256(), 0
        for chunk in _small(_guarded(name, source.chunks)):
            digest.update(chunk)
            self._disk.write(path, chunk)
            size_bytes += len(chunk)
        self.parts.append(Part(name, size_bytes, digest.hexdigest(), source.digest_from))


def plain_bytes(data: object) -> memoryview | None:
    """The memory of a buffer, as bytes; None for what is no buffer.

    ValueError, in words, for a buffer whose memory is not its content in one piece.
    """
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        return None
    except (ValueError, BufferError) as error:
        raise ValueError(f"a {type(data).__name__} whose memory cannot be read: {error}") from error
    if "O" in view.format:
        raise ValueError(
            f"a {type(data).__name__} of Python objects, expected bytes or numbers: its memory "
            "holds addresses, which mean nothing in another process"
        )
    if not view.c_contiguous:
        raise ValueError(
            f"a {type(data).__name__} that is not contiguous (in C order): pass bytes, or "
            "np.ascontiguousarray(...) of an array"
        )
    # A view with a zero in its shape cannot be cast.
    return view.cast("B") if view.nbytes else memoryview(b"")


def _made(names: list[str], path: str, make: Callable[[str], None]) -> None:
    """Make something and note its name. Noted first: Ctrl-C may come right after the making."""
    names.append(path)
    try:
        make(path)
    except OSError:
        # It is not ours: somebody else's may be there.
        names.remove(path)
        raise


def _guarded(name: str, chunks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The chunks; an OSError of their source is the caller's fault, not the store's disk."""
    try:
        yield from chunks
    except OSError as error:
        raise UsageError(
            f"part {name!r} could not be read from its source: {error}. This save was abandoned; "
            "earlier groups are intact."
        ) from error


def _small(chunks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The same bytes in pieces of CHUNK_BYTES at most, none empty, that nobody can change.

    Other threads may go on writing to a buffer while it is saved. Each piece is copied once, and
    the copy is both hashed and written, so that a group always verifies.
    """
    for chunk in chunks:
        try:
            view = plain_bytes(chunk)
        except ValueError as error:
            raise UsageError(f"a chunk is {error}. This save was abandoned.") from error
        if view is None:
            raise UsageError(
                f"a chunk is {type(chunk).__name__}, expected bytes. This save was abandoned."
            )
        is_fixed = type(view.obj) is bytes
        for start in range(0, len(view), CHUNK_BYTES):
            piece = view[start : start + CHUNK_BYTES]
            yield piece if is_fixed else bytes(piece)
