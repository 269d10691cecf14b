"""Saving: from a request to an acknowledged group, or to an error that says what is intact."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, SupportsIndex

from attrs import frozen

from lastgood.backends.interface import Disk, KnowsItsSpace, join
from lastgood.errors import Ending, StorageError, UsageError, code_of
from lastgood.format.chunks import Chunking, fitted, too_many
from lastgood.format.manifest import MAX_SIZE_BYTES, PATH_LIMIT_BYTES, Manifest, Part, encode
from lastgood.format.names import GroupName
from lastgood.parts.damage_survey import Each
from lastgood.parts.part_reader import opened_file
from lastgood.parts.part_writer import Content
from lastgood.protocol.executor import MOST_AT_ONCE, Observe, Performer
from lastgood.protocol.plan import (
    Form,
    Mode,
    plan_attempt,
    plan_delete,
    plan_save,
    plan_seal,
    syncs_dirs,
)
from lastgood.protocol.steps import Step, said
from lastgood.recovery.quarantine import withdraw
from lastgood.retention.prune import tree_of
from lastgood.retention.verified_cache import Memory
from lastgood.writer.lease import LeaseHolder
from lastgood.writer.save_request import Request, checked, checked_parts, room_for_chunks

_STILL_SEEN: Final = (
    " The group could not be moved out of sight either: the next process may find {0} whole in "
    "memory, and a power cut may still take it. Move {0} out of the store before that."
)


@frozen
class Saved:
    """A group that a save has acknowledged. `notes` say what was asked for and not quite done."""

    name: GroupName
    path: str
    manifest: Manifest
    notes: tuple[str, ...] = ()


@frozen
class Attempt:
    """A directory that foreign code fills, until it is sealed or abandoned."""

    name: GroupName
    path: str
    request: Request


@frozen
class _Cut:
    """How the parts of one save are cut, and how many hex digits of chunks may come of it."""

    chunking: Chunking | None
    room_bytes: int

    def chunking_of(self, parts: tuple[Part, ...]) -> Chunking | None:
        """The chunking that the manifest names; None where no part has chunks. UsageError."""
        digests_bytes = sum(len(part.chunks) for part in parts)
        if self.chunking is not None and digests_bytes > self.room_bytes:
            raise too_many(self.chunking, self.room_bytes)
        return self.chunking if digests_bytes else None

    def notes(self, asked: Chunking | None) -> tuple[str, ...]:
        """What to tell of chunks that are larger than was asked for."""
        if asked is None or self.chunking is None or asked == self.chunking:
            return ()
        note = (
            f"chunks have {self.chunking.chunk_bytes} bytes, not the {asked.chunk_bytes} that were "
            "asked for: a manifest has no room for so many digests"
        )
        return (note,)


def left_behind(attempt: Attempt) -> str:
    """What to know of an attempt that could not be removed."""
    return f"{attempt.path!r} could not be removed: no group; the next recovery sets it aside."


class Saver(LeaseHolder):
    """A holder of the lease that saves.

    `new_id` gives a fresh word for each attempt, `now_s` the Unix time that a manifest notes, or
    None. `observe` is told of each step of a save and, by `clock`, of its seconds. `each` and
    `workers` say how many threads share the checks and the parts. `chunking` is how parts are cut.

    `unsure` names a group that was never acknowledged and whose bytes may not be on the medium,
    whole as it may look. `at_once` is that of the performer. `reports`: whatever moves to
    quarantine gets one.
    """

    def __init__(
        self,
        disk: Disk,
        store: str,
        mode: Mode,
        form: Form,
        new_id: Callable[[], str],
        *,
        top: str = "/",
        algorithm: str = "sha256",
        chunking: Chunking | None = None,
        workers: int = 1,
        each: Each = map,
        now_s: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = lambda: 0.0,
        observe: Observe = lambda _step, _seconds: None,
    ) -> None:
        super().__init__(disk, store, mode, top)
        self.form = form
        self.at_once = MOST_AT_ONCE
        self.reports = True
        self.unsure: GroupName | None = None
        self._new_id, self._now_s, self._each = new_id, now_s, each
        self._algorithm, self._chunking, self._workers = algorithm, chunking, workers
        self._clock, self._observe = clock, observe
        self._durable: GroupName | None = None
        """The newest group that this writer has made durable at full strength."""
        self._memory = Memory(disk)
        self._space = disk if isinstance(disk, KnowsItsSpace) else None

    def save(
        self, step: SupportsIndex, content: Mapping[str, Content], metadata: Mapping[str, Any]
    ) -> Saved:
        """Save one group; returning acknowledges it.

        UsageError before anything was changed. StorageError where the disk failed: earlier groups
        are intact, and after a failed sync the writer refuses every later save.
        """
        self._require_usable()
        request = checked(step, list(content), metadata)
        self._require_space(content)
        name = GroupName(self._take_generation(), request.step)
        plan = plan_save(
            self.form, self.mode, self.store, name.generation, name.step, list(content)
        )
        sizes = [each.size_bytes or 0 for each in content.values()]
        return self._commit(name, request, plan, content, self._cut(request, list(content), sizes))

    def begin(self, step: SupportsIndex, metadata: Mapping[str, Any]) -> Attempt:
        """Make a fresh directory for foreign code to fill. Errors as `save`."""
        self._require_usable()
        request = checked(step, None, metadata)
        name = GroupName(self._take_generation(), request.step)
        path, make = plan_attempt(self.form, self.mode, self.store, name.generation, name.step)
        performer = self._performer()
        try:
            performer.perform(make)
        except OSError as error:
            raise self._failed_save(name, error, performer) from error
        return Attempt(name, path, request)

    def seal(self, attempt: Attempt) -> Saved:
        """Make a group of all regular files in the attempt's directory; returning acknowledges it.

        Each is synced, then digested from its file. UsageError where something in there is no part
        (a symlink, a name that no manifest can hold, nothing at all): the attempt is removed, as
        after every other failure but that of a sync; errors as `save`.
        """
        name = attempt.name
        outcomes: list[str] = []

        def ending() -> str:
            is_gone = self.abandon(attempt)
            left = "The attempt was removed." if is_gone else left_behind(attempt)
            outcomes.append(f"{left} Earlier groups are intact.")
            return outcomes[0]

        try:
            self._require_usable(ending)
            parts = self._parts_in(attempt.path, ending)
            request = checked_parts(attempt.request, parts, ending)
            cut = self._cut(request, parts, self._sizes_in(attempt.path, parts, ending))
        except BaseException:
            if not outcomes:
                self.abandon(attempt)
            raise
        plan = plan_seal(self.form, self.mode, self.store, name.generation, name.step, parts)
        return self._commit(name, request, plan, {}, cut, attempt)

    def abandon(self, attempt: Attempt) -> bool:
        """Delete an attempt that was not sealed; False if some of it is left for the next recovery.

        It was never a group, so nothing needs a sync.
        """
        try:
            if self.disk.kind(attempt.path) == "missing":
                return True
            for step in plan_delete(attempt.path, *tree_of(self.disk, attempt.path)):
                Performer(self.disk).perform(step)
        except OSError:
            return False
        return True

    def _parts_in(self, path: str, ending: Ending) -> list[str]:
        """All regular files of an attempt, sorted. UsageError for whatever else is in there."""
        try:
            files, _ = tree_of(self.disk, path)
            for file in files:
                if self.disk.kind(join(path, file)) != "file":
                    raise UsageError(
                        f"{join(path, file)!r} is a symlink or special file, expected regular "
                        f"files only. {ending()}"
                    )
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise UsageError(
                    f"something below {path!r} lies deeper than a path can name, expected parts "
                    f"whose paths have {PATH_LIMIT_BYTES} bytes at most. {ending()}"
                ) from error
            raise _unreadable(path, error, ending) from error
        return sorted(files)

    def _sizes_in(self, path: str, parts: list[str], ending: Ending) -> list[int]:
        """The sizes of an attempt's files, where they decide how parts are cut."""
        sizes: list[int] = []
        try:
            for part in parts if self._chunking is not None else ():
                with opened_file(self.disk, join(path, part), MAX_SIZE_BYTES) as file:
                    sizes.append(file.size_bytes)
        except OSError as error:
            raise _unreadable(path, error, ending) from error
        return sizes

    def _cut(self, request: Request, parts: list[str], sizes: list[int]) -> _Cut:
        """How the parts of a save are cut, so that a manifest can hold the digests."""
        if self._chunking is None:
            return _Cut(None, 0)
        room_bytes = room_for_chunks(request, parts)
        return _Cut(fitted(self._chunking, sizes, room_bytes), room_bytes)

    def _commit(
        self,
        name: GroupName,
        request: Request,
        plan: Iterator[Step],
        content: Mapping[str, Content],
        cut: _Cut,
        attempt: Attempt | None = None,
    ) -> Saved:
        """Carry out a plan that ends in an acknowledgement."""
        manifests: list[Manifest] = []

        def record(_name: str, parts: tuple[Part, ...]) -> bytes:
            now_s = self._now_s()
            manifests.append(
                Manifest(
                    name.generation,
                    name.step,
                    self._new_id(),
                    parts,
                    1,
                    request.metadata,
                    self._algorithm,
                    None if now_s is None else max(0, int(now_s)),
                    cut.chunking_of(parts),
                )
            )
            return encode(manifests[0])

        performer = self._performer(content, record, cut)
        try:
            for step in plan:
                performer.perform(step)
        except OSError as error:
            raise self._failed_save(
                name, error, performer, attempt.path if attempt else ""
            ) from error
        except BaseException:
            # The caller's own data failed, or Ctrl-C: nothing is wrong with the disk. (After the
            # rename nothing is found under the attempt's names: the group is whole and stays.)
            if performer.is_poisoned:
                self._close_for(name, performer.failures[0][1])
            elif attempt is not None:
                self.abandon(attempt)
            else:
                performer.undo()
            raise
        self._note_durable(name, self.mode)
        notes = cut.notes(self._chunking)
        return Saved(name, join(self.store, str(name)), manifests[0], notes)

    def _performer(
        self,
        content: Mapping[str, Content] | None = None,
        record: Callable[[str, tuple[Part, ...]], bytes] | None = None,
        cut: _Cut | None = None,
    ) -> Performer:
        return Performer(
            self.disk,
            content,
            record,
            algorithm=self._algorithm,
            chunking=None if cut is None else cut.chunking,
            room_bytes=0 if cut is None else cut.room_bytes,
            workers=self._workers,
            at_once=self.at_once,
            clock=self._clock,
            observe=self._observe,
        )

    def _require_space(self, content: Mapping[str, Content]) -> None:
        """A save that cannot fit fails before its first byte."""
        needed = sum(each.size_bytes or 0 for each in content.values())
        if not needed or self._space is None:
            return
        try:
            free = self._space.free_bytes(self.store)
        except OSError:
            return  # the save itself will tell
        if needed > free:
            raise StorageError(
                f"store {self.store!r}: a save of {needed} bytes was asked for and {free} are "
                "free (ENOSPC). Nothing was changed; earlier groups are intact and the store is "
                "usable. Make room, or prune."
            )

    def _failed_save(
        self, name: GroupName, error: OSError, performer: Performer, attempt: str = ""
    ) -> StorageError:
        """Clean up after a step that failed; the error to raise."""
        step, error = performer.worst or (None, error)
        doing = "" if step is None else f" {said(step)}:"
        begin = f"save of {name} failed:{doing} {code_of(error)} ({error.strerror or error}). "
        performer.release()
        if performer.is_poisoned:
            hidden = self._close_for(name, error)
            return StorageError(
                f"{begin}It was not acknowledged; earlier groups are intact. What reached the "
                "disk is unknown, so this store is closed to writing: open it again, which "
                f"recovers.{'' if hidden else _STILL_SEEN.format(name)}"
            )
        clean = performer.undo()
        if attempt:
            clean = self.abandon(Attempt(name, attempt, Request(name.step, {})))
        what = "The attempt" if attempt else "What it wrote"
        left = f"{what} was removed." if clean else "The next recovery sets its rest aside."
        return StorageError(f"{begin}{left} Earlier groups are intact and the store is usable.")

    def _close_for(self, name: GroupName, error: OSError) -> bool:
        """Take no more saves, and hide what may look whole; False if it can still be seen.

        The kernel may have marked the lost pages clean: the group could look whole to the next
        process and not be on the medium. So it must not be found there.
        """
        self.failed = f"a save failed with {code_of(error)}, so what reached the disk is unknown"
        self.unsure = name
        why = (
            f"its save failed with {code_of(error)} at or before a sync: it was never "
            "acknowledged, and what looks whole here may not be on the disk"
        )
        return withdraw(self.disk, self.store, name, why, self._now_s(), reports=self.reports)

    def _note_durable(self, name: GroupName, mode: Mode) -> None:
        if syncs_dirs(mode):
            self._durable = name


def _unreadable(attempt: str, error: OSError, ending: Ending) -> StorageError:
    """The error where an attempt's directory cannot be read."""
    return StorageError(
        f"reading the attempt {attempt!r} failed: {code_of(error)} "
        f"({error.strerror or error}). {ending()}"
    )
