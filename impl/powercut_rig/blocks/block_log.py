"""The requests that a disk got, as values: writes with their bytes, flushes, and marks between.

A log starts from a base content (the file system as made and set up).  A `Recipe` says which
part of the log a crash let land; `Replay` turns a recipe into the content that differs from
the base.  Nothing here does I/O, so all of it can be tested without a disk.

A record's `at_ns` is when it came, by this machine's monotonic clock; None where nobody looked.
It is no part of what two recordings are compared by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Final, Literal

from attrs import define, field, frozen

CHUNK_BYTES: Final = 4096
SECTOR_BYTES: Final = 512

SYNC_LABELS: Final = frozenset({"fsync", "fdatasync", "sync", "fullsync", "msync"})
"""The ops, as marks name them, that return when something is durable."""

MarkPhase = Literal["begin", "end", "note"]


@frozen
class LoggedWrite:
    """`data` arrived for the disk's bytes from `offset_bytes` on."""

    offset_bytes: int
    data: bytes = field(repr=lambda data: f"<{len(data)} B>")
    at_ns: int | None = field(default=None, eq=False, repr=False)


@frozen
class LoggedFlush:
    """The disk was asked to make every write before this one durable, and said that it did."""

    at_ns: int | None = field(default=None, eq=False, repr=False)


@frozen
class LoggedMark:
    """A moment of the program: op `op_index` begins or ends; a note belongs to no op."""

    label: str
    op_index: int
    phase: MarkPhase
    at_ns: int | None = field(default=None, eq=False, repr=False)


LogRecord = LoggedWrite | LoggedFlush | LoggedMark


@frozen
class ProgramProgress:
    """The numbers of ops that had begun and that had returned."""

    ops_completed: int = 0
    ops_begun: int = 0

    def after(self, mark: LoggedMark) -> ProgramProgress:
        """The progress once `mark` is passed."""
        if mark.phase == "begin":
            return ProgramProgress(self.ops_completed, self.ops_begun + 1)
        if mark.phase == "end":
            return ProgramProgress(self.ops_completed + 1, self.ops_begun)
        return self


@frozen
class BlockLog:
    """A recording: the disk's size, its content at the start, and all that came after.

    `base` maps chunk numbers (of 4096 bytes) to content; a chunk that is not there holds
    zeros.  Raises ValueError for a write outside of the disk or a chunk of the wrong size.
    """

    size_bytes: int
    base: Mapping[int, bytes] = field(repr=lambda base: f"<{len(base)} chunks>")
    records: tuple[LogRecord, ...] = field(repr=lambda records: f"<{len(records)} records>")

    def __attrs_post_init__(self) -> None:
        chunks = self.size_bytes // CHUNK_BYTES
        if self.size_bytes <= 0 or self.size_bytes % CHUNK_BYTES:
            raise ValueError(
                f"A disk of {self.size_bytes} B was found; expected a multiple of {CHUNK_BYTES} B."
            )
        for index, content in self.base.items():
            if not 0 <= index < chunks or len(content) != CHUNK_BYTES:
                raise ValueError(
                    f"Base chunk {index} of {len(content)} B was found; expected {CHUNK_BYTES} B "
                    f"and a number from 0 to {chunks - 1}."
                )
        for position, record in enumerate(self.records):
            if isinstance(record, LoggedWrite) and not (
                record.data and 0 <= record.offset_bytes <= self.size_bytes - len(record.data)
            ):
                raise ValueError(
                    f"Record {position} writes {len(record.data)} B at {record.offset_bytes}; "
                    f"expected one byte or more inside the disk of {self.size_bytes} B."
                )

    @property
    def writes(self) -> int:
        """The number of writes."""
        return sum(isinstance(record, LoggedWrite) for record in self.records)

    @property
    def flushes(self) -> int:
        """The number of flushes."""
        return sum(isinstance(record, LoggedFlush) for record in self.records)

    def syncs(self) -> tuple[int, int]:
        """The number of syncs that returned, and of those that did although a write was unflushed.

        Those count in whose course no flush came, with writes before their end that no flush
        followed.  A sync that has nothing to do need not flush; a disk that flushes at none of
        them promises nothing.
        """
        returned = bare = 0
        unflushed = flushed_within = False
        for record in self.records:
            if isinstance(record, LoggedWrite):
                unflushed = True
            elif isinstance(record, LoggedFlush):
                unflushed, flushed_within = False, True
            elif record.phase == "begin":
                flushed_within = False
            elif record.phase == "end" and record.label in SYNC_LABELS:
                returned += 1
                bare += unflushed and not flushed_within
        return returned, bare

    def progress_at(self, position: int) -> ProgramProgress:
        """The program's progress once the first `position` records are passed."""
        progress = ProgramProgress()
        for record in self.records[:position]:
            if isinstance(record, LoggedMark):
                progress = progress.after(record)
        return progress

    def last_flush_before(self, position: int) -> int:
        """The start of the flush epoch open at `position`: just after the last flush, or 0."""
        for index in range(position - 1, -1, -1):
            if isinstance(self.records[index], LoggedFlush):
                return index + 1
        return 0


@frozen
class Torn:
    """Of the write at record `index` only its bytes [start_bytes, stop_bytes) landed."""

    index: int
    start_bytes: int
    stop_bytes: int


@frozen
class Recipe:
    """A crash state of the disk: the first `position` records, less what did not land.

    `dropped` and `torn` name writes by their place in the log, sorted; they lie in the flush
    epoch that is open at `position`.
    """

    position: int
    dropped: tuple[int, ...] = ()
    torn: tuple[Torn, ...] = ()

    @property
    def is_prefix(self) -> bool:
        """Nothing is missing before `position`: a kernel crash can leave this too."""
        return not self.dropped and not self.torn

    @property
    def missing(self) -> int:
        """The number of writes that did not land, or not whole."""
        return len(self.dropped) + len(self.torn)


_Cell = tuple[bytes, int]  # a chunk's content and its term in the fingerprint
_Piece = tuple[int, int, bytes, int]  # chunk, first byte in it, bytes, term (0 where partial)
_FINGERPRINT_MASK: Final = (1 << 256) - 1
_ZEROS: Final = bytes(CHUNK_BYTES)


def _term(chunk: int, content: bytes) -> int:
    """The chunk's share of a fingerprint; never 0, which stands for "not computed"."""
    digest = blake2b(content, digest_size=32, key=chunk.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little") or 1


@define
class DiskContent:
    """The content that a recipe leaves on the disk, as the chunks that a write touched.

    `fingerprint` is equal for two recipes of one log exactly when the disks are equal byte
    for byte (a sum of 256-bit digests, one for each chunk that differs from the base).
    """

    cells: dict[int, _Cell]
    fingerprint: int

    def copy(self) -> DiskContent:
        """A second value that can change on its own; the bytes are shared."""
        return DiskContent(self.cells.copy(), self.fingerprint)

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """The touched chunks and their bytes."""
        return ((chunk, cell[0]) for chunk, cell in self.cells.items())


class Replay:
    """Turns recipes of one log into contents; cheapest when positions do not go back."""

    def __init__(self, log: BlockLog) -> None:
        self.log = log
        self._pieces: dict[int, tuple[_Piece, ...]] = {}
        self._base_terms: dict[int, int] = {}
        self._restart()

    def _restart(self) -> None:
        self._start_position = 0  # self._start holds the records before it, and ends an epoch
        self._start = DiskContent({}, 0)

    def content(self, recipe: Recipe) -> DiskContent:
        """The content that `recipe` leaves; the caller owns the answer.

        Raises ValueError for a recipe that loses what a completed flush made durable.
        """
        self._check(recipe)
        epoch = self.log.last_flush_before(recipe.position)
        if epoch < self._start_position:
            self._restart()
        for index in range(self._start_position, epoch):
            self._apply(self._start, index)
            self._pieces.pop(index, None)
        self._start_position = epoch
        content = self._start.copy()
        dropped = frozenset(recipe.dropped)
        torn = {tear.index: tear for tear in recipe.torn}
        for index in range(epoch, recipe.position):
            if index in torn:
                self._apply_torn(content, torn[index])
            elif index not in dropped:
                self._apply(content, index)
        return content

    def _check(self, recipe: Recipe) -> None:
        records = self.log.records
        if not 0 <= recipe.position <= len(records):
            raise ValueError(
                f"The recipe's position is {recipe.position}; the log has {len(records)} records."
            )
        if recipe.is_prefix:
            return
        epoch = self.log.last_flush_before(recipe.position)
        for index in (*recipe.dropped, *(tear.index for tear in recipe.torn)):
            if not (epoch <= index < recipe.position and isinstance(records[index], LoggedWrite)):
                raise ValueError(
                    f"The recipe loses record {index}; only writes from {epoch} to "
                    f"{recipe.position - 1} can be lost: what is older was flushed."
                )

    def _apply(self, content: DiskContent, index: int) -> None:
        record = self.log.records[index]
        if not isinstance(record, LoggedWrite):
            return
        pieces = self._pieces.get(index)
        if pieces is None:
            pieces = self._pieces[index] = tuple(_split(record.offset_bytes, record.data))
        for piece in pieces:
            self._put(content, piece)

    def _apply_torn(self, content: DiskContent, tear: Torn) -> None:
        record = self.log.records[tear.index]
        if not isinstance(record, LoggedWrite):
            return
        landed = record.data[tear.start_bytes : tear.stop_bytes]
        for piece in _split(record.offset_bytes + tear.start_bytes, landed):
            self._put(content, piece)

    def _put(self, content: DiskContent, piece: _Piece) -> None:
        chunk, skip, data, term = piece
        base_term = self._base_terms.get(chunk)
        if base_term is None:
            base_term = _term(chunk, self.log.base.get(chunk, _ZEROS))
            self._base_terms[chunk] = base_term
        cell = content.cells.get(chunk)
        if not term:
            old = cell[0] if cell else self.log.base.get(chunk, _ZEROS)
            data = old[:skip] + data + old[skip + len(data) :]
            term = _term(chunk, data)
        before = cell[1] if cell else base_term
        content.cells[chunk] = (data, term)
        content.fingerprint = (content.fingerprint + term - before) & _FINGERPRINT_MASK


def _split(offset_bytes: int, data: bytes) -> Iterator[_Piece]:
    done = 0
    while done < len(data):
        chunk, skip = divmod(offset_bytes + done, CHUNK_BYTES)
        count = min(CHUNK_BYTES - skip, len(data) - done)
        piece = data[done : done + count]
        yield chunk, skip, piece, _term(chunk, piece) if count == CHUNK_BYTES else 0
        done += count
