"""Subjects for a crash model: lastgood and the paper's protocol.

Everything that varies from run to run is fixed here: attempt ids are counted and the clock stands
still. The entry points `powercut.subjects` name the objects at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, Final

from attrs import field, frozen

from lastgood.backends.detect import disk_here
from lastgood.backends.interface import Disk, join
from lastgood.crashtest import paper_protocol
from lastgood.crashtest.stamped_disk import with_stamps
from lastgood.errors import UsageError
from lastgood.format.chunks import Chunking
from lastgood.parts.part_writer import PartSource
from lastgood.protocol.executor import StepExecutor
from lastgood.protocol.plan import MODES, Form, Mode
from lastgood.recovery.listing import list_entries
from lastgood.recovery.partial_load import read_part, read_range
from lastgood.recovery.recovery import Group, Scan, find_part, newest_valid
from lastgood.recovery.unread import nothing_left_error
from lastgood.retention.policies import LatestN
from lastgood.retention.prune import PruneRequest
from lastgood.writer.lease import missing_dirs
from lastgood.writer.options import WriterOptions
from lastgood.writer.writer import Writer

PAPER_MODES: Final[tuple[Mode, ...]] = ("unsafe", "atomic_nodirsync", "atomic_dirsync")


@frozen
class RecoveredGroup:
    """A group that a recovery handed out: its content was verified.

    `passed_over` are the newer entries of the store that were rejected, each with the reason.
    """

    generation: int
    step: int
    parts: Mapping[str, bytes]
    passed_over: Mapping[str, str] = field(factory=dict)


class LastgoodSession:
    """A process that writes to a lastgood store: the production writer on somebody's disk.

    Reports in quarantine are left to a session of their own: nobody depends on one, and every
    file that nobody depends on multiplies the states that an exhaustive search has to count.
    `passed_over` is what the last recovery rejected.
    """

    def __init__(self, disk: Disk, store: str, mode: Mode, form: Form, **more: Any) -> None:
        ids = count(1)
        chosen = {"reports": False, **more}
        options = WriterOptions(mode, form, lambda: f"attempt-{next(ids)}", **chosen)
        self.passed_over: Mapping[str, str] = {}
        self._writer = Writer(disk, store, options)
        self._writer.open()

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        """Save a group and acknowledge it with its generation."""
        content = {path: PartSource([data], size_bytes=len(data)) for path, data in parts.items()}
        return self._writer.save(step, content, {}).name.generation

    def recover(self) -> RecoveredGroup | None:
        """Recover as the lease holder."""
        return self._hand_out(self._writer.recover())

    def prune(self, keep: int, *, remembers: bool = False) -> None:
        """Give up all but the `keep` newest groups."""
        self._writer.prune(PruneRequest(LatestN(keep), 0.0), remembers=remembers)

    def close(self) -> None:
        """Give the lease back."""
        self._writer.lease.close()

    def _hand_out(self, scan: Scan) -> RecoveredGroup | None:
        self.passed_over = _reasons(scan)
        return _handed_out(self._writer.disk, self._writer.lease.store, scan)


class PruningSession(LastgoodSession):
    """A process that gives up all but the newest group, after every save and every recovery.

    A crash can come inside a prune: what the other properties say then is what retention owes.
    """

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        """Save a group, prune, and acknowledge."""
        generation = super().save(step, parts)
        self.prune(1)
        return generation

    def recover(self) -> RecoveredGroup | None:
        """Recover, and prune what the group that was found makes superfluous."""
        found = super().recover()
        self.prune(1)
        return found


class RememberingSession(LastgoodSession):
    """A process that prunes after every save as a store with `keep=LatestN(3)` does.

    What it has verified once it does not read again, unless its stamps have changed.
    """

    def __init__(self, disk: Disk, store: str, mode: Mode, form: Form, **more: Any) -> None:
        super().__init__(with_stamps(disk), store, mode, form, **more)

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        """Save a group, prune, and acknowledge."""
        generation = super().save(step, parts)
        self.prune(3, remembers=True)
        return generation


class RepairingSession(LastgoodSession):
    """A process that repairs its store whenever it recovers."""

    def recover(self) -> RecoveredGroup | None:
        """Repair, and hand out what is left as the newest valid group."""
        repaired = self._writer.repair()
        passed = (*repaired.moved, *repaired.unreadable, *repaired.stuck)
        return self._hand_out(Scan(repaired.group, passed))


class PurgingSession(PruningSession):
    """A process that keeps one group and purges all of its quarantine, whenever it recovers."""

    def recover(self) -> RecoveredGroup | None:
        """Recover, purge the quarantine, and prune."""
        found = LastgoodSession.recover(self)
        self._writer.purge()
        self.prune(1)
        return found


class AttemptSession(LastgoodSession):
    """A process whose parts are written by foreign code, which syncs nothing, into an attempt."""

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        """Let the parts be written, and seal them."""
        attempt = self._writer.begin(step, {})
        for name, data in parts.items():
            path = join(attempt.path, name)
            self._writer.disk.create(path)
            self._writer.disk.write(path, data)
            self._writer.disk.close(path)
        return self._writer.seal(attempt).name.generation


@frozen
class LastgoodSubject:
    """lastgood in one form of commit, or (None) in the one that it would choose.

    `options` are more of those of its writer; it `keeps` so many groups, or (None) all.
    """

    form: Form | None
    session: type[LastgoodSession] = LastgoodSession
    modes: tuple[str, ...] = MODES
    options: Mapping[str, Any] = field(factory=dict, hash=False)
    keeps: int | None = None

    def open(self, disk: Disk, store: str, mode: str, rename_is_atomic: bool) -> LastgoodSession:
        """Start a writing process."""
        chosen: Form = self.form or ("rename" if rename_is_atomic else "record")
        return self.session(disk, store, _mode(mode, MODES), chosen, **self.options)

    def read(self, disk: Disk, store: str) -> RecoveredGroup | None:
        """Load the newest valid group and change nothing."""
        if disk.kind(store) == "missing":
            return None
        return _handed_out(disk, store, newest_valid(disk, store, list_entries(disk, store)))

    def real_disk(self) -> Disk:
        """Give the disk that production uses on this machine, but for the note in its lock file.

        Who holds a lease is written there for people. It is no step of the protocol.
        """
        return disk_here(signs_locks=False)


class PaperSession:
    """A process that writes as the paper's code does: no lease, no generations, no re-sync."""

    def __init__(self, disk: Disk, root: str, mode: Mode) -> None:
        self._disk, self._root, self._mode = disk, root, mode

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        """Save an epoch, numbered by the step; its number."""
        for path in reversed(missing_dirs(self._disk, self._root)):
            self._disk.mkdir(path)
        existing = paper_protocol.left_by_a_dead_attempt(self._disk, self._root, step)
        executor = StepExecutor(
            self._disk,
            {path: PartSource([data]) for path, data in parts.items()},
            lambda name, written: paper_protocol.record(name, written, epoch=step, time_s=0.0),
        )
        for each in paper_protocol.plan_save(self._mode, self._root, step, list(parts), existing):
            executor.execute(each)
        return step

    def recover(self) -> RecoveredGroup | None:
        """The newest valid epoch; nothing is written."""
        return PAPER.read(self._disk, self._root)

    def close(self) -> None:
        """Nothing is held."""


@frozen
class PaperSubject:
    """The source paper's protocol, in its three modes."""

    modes: tuple[str, ...] = PAPER_MODES

    def open(self, disk: Disk, store: str, mode: str, rename_is_atomic: bool) -> PaperSession:  # noqa: ARG002
        """Start a writing process. The paper renames whatever the file system is."""
        return PaperSession(disk, store, _mode(mode, PAPER_MODES))

    def read(self, disk: Disk, store: str) -> RecoveredGroup | None:
        """Load the newest valid epoch and change nothing."""
        found = paper_protocol.newest_valid(disk, store)
        return None if found is None else RecoveredGroup(found[0], found[0], found[1])

    def real_disk(self) -> Disk:
        """Give the disk that production uses on this machine, but for the note in its lock file.

        Who holds a lease is written there for people. It is no step of the protocol.
        """
        return disk_here(signs_locks=False)


def _mode(text: str, known: tuple[Mode, ...]) -> Mode:
    for mode in known:
        if mode == text:
            return mode
    raise UsageError(f"mode is {text!r}, expected one of {', '.join(known)}. Nothing was changed.")


def _handed_out(disk: Disk, store: str, scan: Scan) -> RecoveredGroup | None:
    """The outcome of a scan, as `Store.load_latest` would hand it out. StorageError as there."""
    if scan.group is None:
        unread = [(each.name, each.detail) for each in scan.rejected if each.is_unread]
        if unread:
            raise nothing_left_error(store, unread)
        return None
    group = scan.group
    read = read_part if group.manifest.chunking is None else _read_in_ranges
    parts = {path: read(disk, group, path) for path in group.part_paths}
    return RecoveredGroup(group.name.generation, group.name.step, parts, _reasons(scan))


def _reasons(scan: Scan) -> dict[str, str]:
    return {each.name: each.reason for each in scan.rejected}


def _read_in_ranges(disk: Disk, group: Group, part_path: str) -> bytes:
    """A part as two ranges that meet inside a chunk."""
    part = find_part(group, part_path)
    middle = part.size_bytes // 2
    first = read_range(disk, group, part, 0, middle)
    return bytes(first) + read_range(disk, group, part, middle, part.size_bytes - middle)


AUTO: Final = LastgoodSubject(None)
RECORD: Final = LastgoodSubject("record")
RENAME: Final = LastgoodSubject("rename")
# Manifests have digests of chunks, and a recovery hands out ranges of parts, put together.
CHUNKED: Final = LastgoodSubject(None, options={"chunking": Chunking(4, "sha256")})
ATTEMPT: Final = LastgoodSubject(None, AttemptSession)
# Parts are written one after the other, as big ones are by one thread.
APART: Final = LastgoodSubject(None, options={"max_open_files": 1})
# Whatever moves to quarantine gets a report, as in production.
REPORTED: Final = LastgoodSubject(None, options={"reports": True})
REPAIRED: Final = LastgoodSubject(None, RepairingSession)
KEEP_ONE: Final = LastgoodSubject(None, PruningSession, keeps=1)
PURGED: Final = LastgoodSubject(None, PurgingSession, keeps=1)
REMEMBERS: Final = LastgoodSubject(None, RememberingSession, keeps=3)
PAPER: Final = PaperSubject()
