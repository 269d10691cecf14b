"""The rig on disks of a guest: the same recordings and crash images, without root.

One guest records; another one mounts crash images, which may be damaged in ways that hang a kernel.
Both live as long as the worker, and serve one recording after the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from attrs import define, field

from powercut.filesystem.ops import Op
from powercut.simulation.model_disk import SubjectDisk
from powercut.simulation.subject import Plan
from powercut_rig.blocks.block_log import BlockLog, Recipe, Replay
from powercut_rig.blocks.crash_images import Bounds, CrashImage, CrashImages, crash_images
from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.filesystems import FILE_SYSTEMS, FileSystem, missing_for
from powercut_rig.guest.build.packages import missing_programs
from powercut_rig.guest.machine.connection import GuestLostError
from powercut_rig.guest.machine.tree_codec import snapshot_from
from powercut_rig.guest.remote import RemoteDisk, RemoteOpRunner
from powercut_rig.guest.session import GuestSession
from powercut_rig.mounted.image_mounter import FsckReport, fsck
from powercut_rig.mounted.op_runner import MarkWriter, ProgramRunner
from powercut_rig.mounted.tree_reader import TreeSnapshot
from powercut_rig.mounted.writeback import WriteBack, default_plan
from powercut_rig.system import linux_syscalls, worker
from powercut_rig.system.deadline import DeadlineError
from powercut_rig.system.lifecycle import ManagedResource

_T = TypeVar("_T")

SESSIONS_MAX: Final = 4
"""How many guests a worker keeps: a recording and a checking one, for two file systems."""

DiskMaker = Callable[[Plan], SubjectDisk]

_sessions: dict[tuple[str, bool], GuestSession] = {}


def session_for(fs: FileSystem, *, recording: bool) -> GuestSession:
    """This worker's session for a file system; the one least lately used makes room for a new one.

    They end with the worker. RigError outside of one.
    """
    if not worker.inside_worker():
        raise RigError("Guests live in a worker: call run_in_worker(function, mounts=False).")
    key = (fs.name, recording)
    found = _sessions.pop(key, None)
    if found is None:
        if not _sessions:
            worker.at_end(_end_sessions)
        while len(_sessions) >= SESSIONS_MAX:
            _sessions.pop(next(iter(_sessions))).close()
        found = GuestSession(fs, recording=recording).open()
    _sessions[key] = found
    return found


def _end_sessions() -> None:
    while _sessions:
        _sessions.popitem()[1].close()


@define
class GuestImage:
    """One crash image in the checking guest; see `powercut_rig.mounted.image_mounter.MountedImage`.

    `lost` says that the guest hung or died over it; looking raises that.
    """

    recipe: Recipe
    refusal: OSError | None
    kernel_said: str
    lost: GuestLostError | None
    _session: GuestSession = field(repr=False)

    def look(self) -> TreeSnapshot:
        """The tree. GuestLostError where the guest cannot show it."""
        self._check()
        try:
            return snapshot_from(self._session.request("look"))
        except ValueError as error:
            raise RigError(f"The guest showed no tree: {error}.") from error

    def disk(self, plan: Plan) -> SubjectDisk:
        """A subject's own disk on this image."""
        self._check()
        return RemoteDisk(self._session, plan)

    def unmount(self) -> None:
        """End the mount, if the image is mounted. GuestLostError."""
        self._session.unmount()

    def fsck(self) -> FsckReport:
        """Ends the mount and checks what is on the image's disk then, changing nothing."""
        self._session.unmount()
        return fsck(self._session.fs, self._session.path)

    def _check(self) -> None:
        if self.lost is not None:
            raise self.lost


class GuestRig(ManagedResource):
    """Records and mounts in guests; the calls are those of `powercut_rig.linux.rig.Rig`."""

    def __init__(self, fs: str) -> None:
        self._fs = FILE_SYSTEMS[fs]

    def _open(self, undo: contextlib.ExitStack) -> None:
        if missing := missing_programs() + missing_for(self._fs):
            raise RigUnavailable(missing)
        undo.callback(self._unmount)

    def _unmount(self) -> None:
        for recording in (True, False):
            if found := _sessions.get((self._fs.name, recording)):
                with contextlib.suppress(OSError, RigError, DeadlineError):  # it is ended then
                    found.unmount()

    def record(
        self,
        ops: Sequence[Op],
        *,
        setup: Sequence[Op] = (),
        writeback: Sequence[WriteBack] | None = None,
    ) -> BlockLog:
        """See `Rig.record`."""
        plan = default_plan(ops) if writeback is None else writeback
        recorder = session_for(self._fs, recording=True)
        with _no_deadline(), _recording(recorder):
            recorder.disk.load({})
            self._fs.make(recorder.path)
            recorder.mount()
            program = ProgramRunner(RemoteOpRunner(recorder), recorder.mark)
            program.perform(setup)
            base = recorder.begin_quietly()
            program.run(ops, plan)
            recorder.mark("end of program", len(ops), "note")
            program.sync()
            return BlockLog(self._fs.size_bytes, base, recorder.records())

    def record_on(
        self, recording: BlockLog, recipe: Recipe, act: Callable[[DiskMaker, MarkWriter], _T]
    ) -> tuple[BlockLog, _T]:
        """See `Rig.record_on`."""
        content = {**recording.base, **dict(Replay(recording).content(recipe).chunks())}
        recorder = session_for(self._fs, recording=True)
        with _recording(recorder):
            recorder.disk.load(content)
            recorder.begin_recording()
            recorder.mount()
            answer = act(lambda plan: RemoteDisk(recorder, plan), recorder.mark)
            return BlockLog(recording.size_bytes, content, recorder.records()), answer

    def crash_images(self, log: BlockLog, bounds: Bounds) -> CrashImages:
        """See `Rig.crash_images`."""
        return crash_images(log, bounds)

    def images(
        self,
        recording: BlockLog,
        recipes: Iterable[CrashImage | Recipe],
        *,
        only_read: bool = False,
    ) -> Iterator[GuestImage]:
        """See `Rig.images`; with `only_read` without a write, where that shows the same tree."""
        checker = session_for(self._fs, recording=False)
        replay = Replay(recording)
        for item in recipes:
            recipe = item.recipe if isinstance(item, CrashImage) else item
            cells = replay.content(recipe).cells
            checker.unmount()
            checker.start()
            checker.hold(recording.base, cells)
            yield _mounted(checker, recipe, self._fs.read_only_options if only_read else None)
        checker.unmount()

    def images_after(
        self, recording: BlockLog, recipes: Iterable[CrashImage | Recipe]
    ) -> Iterator[GuestImage]:
        """See `Rig.images_after`; the images before go on with their own content afterwards."""
        return self.images(recording, recipes)


def _mounted(checker: GuestSession, recipe: Recipe, read_only: str | None) -> GuestImage:
    refusal, lost = None, None
    try:
        if read_only is None:
            checker.mount(linux_syscalls.MS_NOATIME)
        else:
            checker.mount(linux_syscalls.MS_NOATIME | linux_syscalls.MS_RDONLY, read_only)
    except GuestLostError as error:
        lost = error
    except OSError as error:
        refusal = error
    said = checker.words() if refusal or lost else ""
    return GuestImage(recipe, refusal, said, lost, checker)


@contextlib.contextmanager
def _no_deadline() -> Iterator[None]:
    """A guest that is lost in a first recording is an error of it, not a finding of an image."""
    try:
        yield
    except GuestLostError as error:
        raise RigError(f"The guest was lost while it recorded: {error}") from error


@contextlib.contextmanager
def _recording(recorder: GuestSession) -> Iterator[None]:
    """The recording guest at work: it is there at the start, and free again at the end."""
    recorder.unmount()
    recorder.start()
    try:
        yield
        recorder.unmount()
    except GuestLostError as error:
        said = recorder.words()
        recorder.stop()
        raise GuestLostError(f"{error}; the guest said last:\n{said}") from error
    except BaseException:
        recorder.stop()
        raise
