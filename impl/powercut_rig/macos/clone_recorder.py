"""Takes clones at the marks of a program, and finds out which of them differ."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final

from attrs import define, field

from powercut_rig.blocks.block_log import LoggedMark, MarkPhase, ProgramProgress, Recipe
from powercut_rig.blocks.crash_images import CrashImage, CrashImages, CrashMoment
from powercut_rig.errors import RigError
from powercut_rig.macos.clones import Cloner

_READ_BYTES: Final = 1 << 20
_JOIN_S: Final = 120.0
_SYNCS: Final = ("fsync", "fdatasync", "barrier", "fullsync", "full sync", "sync", "msync")

BackgroundLoop = Callable[[Callable[[], bool]], Callable[[], None]]
"""Starts calling a function beside the program, until it says False; the answer ends that."""


def loop_in_thread(step: Callable[[], bool], join_s: float = _JOIN_S) -> Callable[[], None]:
    """Call `step` in a thread. What it raises is raised again by the function that ends it.

    That function waits `join_s` seconds for a step that is under way; RigError where it stays so.
    """
    ended = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while not ended.is_set() and step():
                pass
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="clones", daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join(join_s)
        if failed:
            raise failed[0]
        if thread.is_alive():
            raise RigError(
                f"A clone that was begun while a sync ran is not done {join_s:g} s after it. This "
                "recording is given up: nothing is concluded from it. Nobody can end the clone; "
                "a disk that is nearly full, or that hangs, does this."
            )

    return end


@define
class CloneTaker:
    """Clones `image` at each mark. `records` are the marks, and a note for each clone."""

    image: Path
    clone: Cloner
    during: int
    background: BackgroundLoop
    records: list[LoggedMark] = field(factory=list)
    _progress: ProgramProgress = field(factory=ProgramProgress)
    _taken: list[tuple[int, Path, ProgramProgress]] = field(factory=list)
    _end_background: Callable[[], None] | None = None

    def mark(self, label: str, op_index: int, phase: MarkPhase) -> None:
        """Put a mark into the log; a `MarkWriter`. A clone follows all that has happened."""
        self.end()
        mark = LoggedMark(label, op_index, phase)
        self.records.append(mark)
        self._progress = self._progress.after(mark)
        if phase != "begin":
            self.take()
        elif self.during and label.startswith(_SYNCS):
            self._end_background = self.background(_Countdown(self.during, self.take))

    def take(self) -> None:
        """Clone the image as it is now. RigError."""
        number = len(self._taken)
        path = self.image.with_name(f"clone-{number:04}.dmg")
        self.clone(self.image, path)
        self.records.append(LoggedMark(f"clone {number}", -1, "note"))
        self._taken.append((len(self.records), path, self._progress))

    def distinct(self) -> tuple[dict[int, Path], CrashImages]:
        """Clone files by position, and the crash images; equal clones are merged and removed."""
        self.end()
        firsts: dict[int, tuple[int, Path]] = {}
        moments: dict[int, dict[CrashMoment, None]] = {}
        counts: Counter[int] = Counter()
        for position, path, progress in self._taken:
            fingerprint = fingerprint_of(path)
            counts[fingerprint] += 1
            moments.setdefault(fingerprint, {})[CrashMoment(progress, "kernel")] = None
            if fingerprint in firsts:
                path.unlink()
            else:
                firsts[fingerprint] = (position, path)
        images = tuple(
            CrashImage(Recipe(position), tuple(moments[found]), counts[found], found)
            for found, (position, _) in firsts.items()
        )
        tried = {"prefix": len(self._taken)}
        return dict(firsts.values()), CrashImages(images, tried, tried)  # type: ignore[arg-type]

    def end(self) -> None:
        """End what takes clones beside a sync; what it raised is raised here."""
        if self._end_background is not None:
            end, self._end_background = self._end_background, None
            end()


@define
class _Countdown:
    """Calls a function so many times at most."""

    left: int
    call: Callable[[], None]

    def __call__(self) -> bool:
        self.call()
        self.left -= 1
        return self.left > 0


def fingerprint_of(path: Path) -> int:
    """A number for a file's bytes; equal for equal contents."""
    digest = blake2b(digest_size=32)
    with path.open("rb") as opened:
        while piece := opened.read(_READ_BYTES):
            digest.update(piece)
    return int.from_bytes(digest.digest(), "little")


def count_in_file(path: Path, block: bytes) -> int:
    """Count a block of bytes in a file, wherever it begins; overlaps are not counted."""
    count, tail = 0, b""
    with path.open("rb") as opened:
        while piece := opened.read(_READ_BYTES):
            held = tail + piece
            found = held.count(block)
            count += found
            # What was counted must not be counted again with the next piece.
            after = held.rfind(block) + len(block) if found else 0
            tail = held[max(after, len(held) - len(block) + 1) :]
    return count
