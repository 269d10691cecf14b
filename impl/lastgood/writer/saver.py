"""Saving: from a request to an acknowledged group, or to an error that says what is intact."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, SupportsIndex

from attrs import frozen

from lastgood.backends.capabilities import system_info
from lastgood.backends.interface import join
from lastgood.errors import (
    FREE_ROOM,
    StorageError,
    UsageError,
    advice_on,
    describe_error,
    errno_name,
)
from lastgood.format.chunks import Chunking, enlarge_to_fit, too_many_chunks
from lastgood.format.manifest import Manifest, Part, encode
from lastgood.format.names import GroupName
from lastgood.parts.part_writer import PartSource
from lastgood.protocol.executor import RecordEncoder, StepExecutor
from lastgood.protocol.plan import Form, Mode, plan_attempt, plan_save, plan_seal
from lastgood.protocol.steps import Step, describe_step
from lastgood.recovery.clearing import NO_ROOM
from lastgood.recovery.quarantine import quarantine_failed_save
from lastgood.recovery.quarantine_usage import measure_quarantine
from lastgood.writer.attempt import (
    Attempt,
    attempt_parts,
    attempt_sizes,
    describe_leftover,
    remove_attempt,
)
from lastgood.writer.lease import Lease
from lastgood.writer.options import WriterOptions
from lastgood.writer.save_request import (
    SaveRequest,
    check_request,
    check_request_parts,
    room_for_chunks,
)

_STILL_SEEN: Final = (
    " The group could not be moved out of sight either: the next process may find {0} whole in "
    "memory, and a power cut may still take it. Move {0} out of the store before that."
)

BeforeFirst = Callable[[Collection[str] | None], None]


@frozen
class SavedGroup:
    """A group that a save has acknowledged. `notes` say what was asked for and not quite done."""

    name: GroupName
    path: str
    manifest: Manifest
    notes: tuple[str, ...] = ()


@frozen
class _Cut:
    """The chunking of one save, and the number of hex digits of chunks that may come of it."""

    chunking: Chunking | None
    room_bytes: int

    def chunking_of(self, parts: tuple[Part, ...]) -> Chunking | None:
        """The chunking that the manifest names; None where no part has chunks. UsageError."""
        digests_bytes = sum(len(part.chunks) for part in parts)
        if self.chunking is not None and digests_bytes > self.room_bytes:
            raise too_many_chunks(self.chunking, self.room_bytes)
        return self.chunking if digests_bytes else None

    def notes(self, asked: Chunking | None) -> tuple[str, ...]:
        """A note on chunks that are larger than was asked for."""
        if asked is None or self.chunking is None or asked == self.chunking:
            return ()
        note = (
            f"chunks have {self.chunking.chunk_bytes} bytes, not the {asked.chunk_bytes} that were "
            "asked for: a manifest has no room for so many digests"
        )
        return (note,)


class Saver:
    """Saves groups while the lease is held.

    `unsure` names a group that was never acknowledged and whose bytes may not be on the medium,
    whole as it may look. `before_first` makes the store ready for a save; it is called before each,
    with the entries of the store where it was listed just now, and knows itself whether there is
    something to do.
    """

    def __init__(self, lease: Lease, options: WriterOptions, before_first: BeforeFirst) -> None:
        self.options = options
        self.unsure: GroupName | None = None
        self._lease, self._disk, self._store = lease, lease.disk, lease.store
        self._info = system_info(self._disk)
        self._before_first = before_first

    def save(
        self, step: SupportsIndex, content: Mapping[str, PartSource], metadata: Mapping[str, Any]
    ) -> SavedGroup:
        """See `Writer.save`."""
        self._lease.require_usable()
        request = check_request(step, list(content), metadata)
        self._make_ready()
        self._require_space(content)
        name = GroupName(self._lease.take_generation(), request.step)
        plan = plan_save(*self._where(name), list(content))
        known = [each.size_bytes for each in content.values()]
        total_bytes = None if None in known else sum(size or 0 for size in known)
        cut = self._cut(request, list(content), [size or 0 for size in known])
        return self._commit(name, request, plan, content, cut, total_bytes)

    def begin(self, step: SupportsIndex, metadata: Mapping[str, Any]) -> Attempt:
        """See `Writer.begin`."""
        self._lease.require_usable()
        request = check_request(step, None, metadata)
        self._make_ready()
        name = GroupName(self._lease.take_generation(), request.step)
        path, make = plan_attempt(*self._where(name))
        executor = self._executor()
        try:
            executor.execute(make)
        except OSError as error:
            raise self._failed_save(name, error, executor) from error
        except BaseException:
            executor.undo()
            raise
        return Attempt(name, path, request)

    def seal(self, attempt: Attempt) -> SavedGroup:
        """Make a group of all regular files in the attempt's directory; returning acknowledges it.

        Each is synced, then digested from its file. UsageError where something in there is no part
        (a symlink, a name that no manifest can hold, nothing at all): the attempt is removed, as
        after every other failure but that of a sync; errors as `save`.
        """
        name = attempt.name
        outcomes: list[str] = []

        def ending() -> str:
            is_gone = remove_attempt(self._disk, attempt.path)
            left = "The attempt was removed." if is_gone else describe_leftover(attempt)
            outcomes.append(f"{left} Earlier groups are intact.")
            return outcomes[0]

        try:
            self._lease.require_usable(ending)
            parts = attempt_parts(self._disk, attempt.path, ending)
            request = check_request_parts(attempt.request, parts, ending)
            # The sizes decide nothing but how parts are cut.
            is_cut = self.options.chunking is not None
            sizes = attempt_sizes(self._disk, attempt.path, parts if is_cut else [], ending)
            cut = self._cut(request, parts, sizes)
        except BaseException:
            if not outcomes:
                remove_attempt(self._disk, attempt.path)
            raise
        plan = plan_seal(*self._where(name), parts)
        used_bytes = self._used_bytes([join(attempt.path, part) for part in parts])
        return self._commit(name, request, plan, {}, cut, used_bytes, attempt)

    def _used_bytes(self, paths: list[str]) -> int | None:
        """The room that files take, without opening them: enough to tell whether it is little."""
        try:
            used = [self._info.used_bytes(path) for path in paths]
        except OSError:
            return None
        return None if None in used else sum(each or 0 for each in used)

    def _cut(self, request: SaveRequest, parts: list[str], sizes: list[int]) -> _Cut:
        """The chunking of a save whose digests a manifest can hold."""
        chunking = self.options.chunking
        if chunking is None:
            return _Cut(None, 0)
        room_bytes = room_for_chunks(request, parts)
        return _Cut(enlarge_to_fit(chunking, sizes, room_bytes), room_bytes)

    def _where(self, name: GroupName) -> tuple[Form, Mode, str, int, int]:
        """The first arguments of every plan of a save."""
        return self.options.form, self.options.mode, self._store, name.generation, name.step

    def _commit(
        self,
        name: GroupName,
        request: SaveRequest,
        plan: Iterator[Step],
        content: Mapping[str, PartSource],
        cut: _Cut,
        total_bytes: int | None,
        attempt: Attempt | None = None,
    ) -> SavedGroup:
        """Carry out a plan that ends in an acknowledgement."""
        options = self.options
        manifests: list[Manifest] = []

        def record(_name: str, parts: tuple[Part, ...]) -> bytes:
            now_s = options.now_s()
            manifests.append(
                Manifest(
                    name.generation,
                    name.step,
                    options.new_id(),
                    parts,
                    1,
                    request.metadata,
                    options.algorithm,
                    None if now_s is None else max(0, int(now_s)),
                    cut.chunking_of(parts),
                )
            )
            return encode(manifests[0])

        executor = self._executor(content, record, cut, total_bytes)
        try:
            for step in plan:
                executor.execute(step)
        except OSError as error:
            raise self._failed_save(
                name, error, executor, attempt.path if attempt else ""
            ) from error
        except BaseException:
            # The caller's own data failed, or Ctrl-C: nothing is wrong with the disk. (After the
            # rename nothing is found under the attempt's names: the group is whole and stays.)
            executor.release()
            if executor.is_poisoned and executor.worst is not None:
                self._close_for(name, executor.worst[1])
            elif attempt is not None:
                remove_attempt(self._disk, attempt.path)
            else:
                executor.undo()
            raise
        notes = cut.notes(options.chunking)
        return SavedGroup(name, join(self._store, str(name)), manifests[0], notes)

    def _executor(
        self,
        content: Mapping[str, PartSource] | None = None,
        record: RecordEncoder | None = None,
        cut: _Cut = _Cut(None, 0),
        total_bytes: int | None = None,
    ) -> StepExecutor:
        return StepExecutor(
            self._disk,
            content,
            record,
            algorithm=self.options.algorithm,
            chunking=cut.chunking,
            room_bytes=cut.room_bytes,
            total_bytes=total_bytes,
            workers=self.options.workers,
            max_open_files=self.options.max_open_files,
            clock=self.options.clock,
            observe=self.options.observe,
        )

    def _make_ready(self) -> None:
        """Rid the store of what dead saves have left, once nothing else refuses this one."""
        self._before_first(self._lease.require_generation())

    def _require_space(self, content: Mapping[str, PartSource]) -> None:
        """A save that cannot fit fails before its first byte."""
        needed = sum(each.size_bytes or 0 for each in content.values())
        try:
            free = self._info.free_bytes(self._store) if needed else None
        except OSError:
            return  # the save itself will tell
        if free is not None and needed > free:
            raise StorageError(
                f"store {self._store!r}: a save of {needed} bytes was asked for and {free} are "
                "free (ENOSPC). It was not begun; earlier groups are intact and the store is "
                f"usable. {FREE_ROOM}{self._room_aside()}"
            )

    def _failed_save(
        self, name: GroupName, error: OSError, executor: StepExecutor, attempt: str = ""
    ) -> StorageError:
        """Clean up after a step that failed; the error to raise."""
        step, error = executor.worst or (None, error)
        doing = "" if step is None else f" {describe_step(step)}:"
        begin = f"save of {name} failed:{doing} {describe_error(error)}. "
        executor.release()
        if executor.is_poisoned:
            hidden = self._close_for(name, error)
            return StorageError(
                f"{begin}It was not acknowledged; earlier groups are intact. What reached the "
                "disk is unknown, so this store is closed to writing: open it again and call "
                f"load_latest(), which recovers.{'' if hidden else _STILL_SEEN.format(name)}"
            )
        clean = executor.undo()
        if attempt:
            clean = remove_attempt(self._disk, attempt)
        removed = "The attempt was removed." if attempt else "Nothing of it is left."
        left = removed if clean else "The next recovery clears its rest away."
        usable = "Earlier groups are intact and the store is usable."
        aside = self._room_aside() if error.errno in NO_ROOM else ""
        return StorageError(f"{begin}{left} {usable} {advice_on(error)}{aside}".rstrip())

    def _room_aside(self) -> str:
        """A sentence on the bytes that a purge of the quarantine would free at most, if any."""
        try:
            entries = measure_quarantine(self._disk, self._store).entries
        except (StorageError, UsageError):
            return ""
        used_bytes = sum(each.size_bytes for each in entries)
        return f" What it has set aside takes {used_bytes:,} bytes." * bool(entries)

    def _close_for(self, name: GroupName, error: OSError) -> bool:
        """Take no more saves, and hide what may look whole; False if it can still be seen.

        The kernel may have marked the lost pages clean: the group could look whole to the next
        process and not be on the medium. So it must not be found there.
        """
        self._lease.failed = (
            f"a save failed with {errno_name(error)}, so what reached the disk is unknown"
        )
        self.unsure = name
        why = (
            f"its save failed with {errno_name(error)} at or before a sync: it was never "
            "acknowledged, and what looks whole here may not be on the disk"
        )
        now_s, reports = self.options.now_s(), self.options.reports
        return quarantine_failed_save(self._disk, self._store, name, why, now_s, reports=reports)
