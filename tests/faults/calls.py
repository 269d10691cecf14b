"""Every call fails with every errno, on a FUSE disk, under every operation of the library."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable, Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final

from attrs import define, frozen

from lastgood import LastgoodError, Store, open_read_only
from lastgood.backends.posix import PosixDisk
from powercut_rig.system.deadline import DeadlineError, deadline
from powercut_rig.system.worker import private_folder
from tests.faults.operations import CHANGING, COMMANDS, LOOKING, NEW, Call, carry_out
from tests.faults.passthrough import Control, failing_disk
from tests.faults.stores import (
    HERE,
    SMALL_GROUPS,
    Truth,
    lost,
    make_store,
    open_store,
    tree_of,
)
from tests.faults.tally import Tally

PART: Final = "calls"
DEADLINE_S: Final = 20.0
ERRNOS: Final = (
    errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENOSPC, errno.EDQUOT, errno.EROFS,
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.EINVAL, errno.EISDIR, errno.ENOTDIR,
    errno.ELOOP, errno.ENXIO, errno.EFBIG, errno.EBUSY, errno.EMFILE, errno.ENFILE,
    errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTSUP,
    errno.ENOSYS, errno.EOVERFLOW, errno.ENAMETOOLONG, errno.EXDEV, errno.EMLINK, errno.EEXIST,
    errno.ENOTEMPTY, errno.ENODEV,
)  # fmt: skip
OPERATIONS: Final = {**CHANGING, **LOOKING, **COMMANDS}
WRITING: Final = frozenset({*CHANGING, *COMMANDS})
"""The operations whose listings are those of whoever holds the lease."""
_SYNCS: Final = frozenset({"fsync", "fsyncdir"})
_SAVES: Final = tuple(name for name in CHANGING if name.startswith(("save", "attempt")))


@frozen
class Fault:
    """The `nth` call of a kind fails with `number` during an operation; `sticky`: all later too."""

    operation: str
    kind: str
    nth: int
    number: int
    sticky: bool

    def __str__(self) -> str:
        which = f"from {self.kind} {self.nth} on" if self.sticky else f"{self.kind} {self.nth}"
        return f"{self.operation}: {which} {errno.errorcode[self.number]}"


@define
class Bench:
    """A store behind a disk that fails: `real` lies behind `seen`, and is set back to `kept`."""

    kept: Path
    real: Path
    seen: Path
    truth: Truth
    control: Control

    def fresh(self) -> Truth:
        """Set the store back to what it was; nobody remembers a name."""
        self.control.disarm()
        self.control.direct = 1
        shutil.rmtree(self.real, ignore_errors=True)
        shutil.copytree(self.kept, self.real)
        self.control.epoch += 1
        return self.truth.copy()

    def counts(self, operation: str) -> dict[str, int]:
        """The calls of each kind that an operation makes where nothing fails."""
        call = Call(self.seen, self.real, self.fresh(), PosixDisk(HERE))
        self.control.clear()
        self.control.direct = int("map" not in operation)
        answer = carry_out(OPERATIONS[operation], call)
        assert (answer.raw, answer.said, answer.wrong) == ("", "", []), (operation, answer)
        return self.control.counts()


def run_calls(cases: int | None, seed: int, only: str = "") -> Tally:
    """Draw so many faults, or take every one, and judge each. In a worker of the rig."""
    tally = Tally()
    with private_folder() as folder:
        home = Path(folder)
        kept, backing, target = home / "kept", home / "backing", home / "target"
        backing.mkdir()
        target.mkdir()
        truth = make_store(kept, SMALL_GROUPS)
        faults: list[Fault] | None = None
        done = 0
        while faults is None or done < len(faults):
            # What answers ENOSYS once is not asked again: then the disk is mounted anew.
            with failing_disk(backing, target) as control:
                bench = Bench(kept, backing / "store", target / "store", truth, control)
                if faults is None:
                    faults = [each for each in drawn(bench, cases, seed) if only in str(each)]
                while done < len(faults):
                    judge(bench, faults[done], tally)
                    done += 1
                    if faults[done - 1].number == errno.ENOSYS:
                        break
    return tally


def drawn(bench: Bench, cases: int | None, seed: int) -> list[Fault]:
    """Every fault, or so many of them: each operation and each kind of call has its share."""
    every = list(_every_fault(bench))
    if cases is None:
        return every
    dice = random.Random(seed)  # noqa: S311 - drawn with a seed
    shares: dict[tuple[str, str], list[Fault]] = {}
    for fault in every:
        shares.setdefault((fault.operation, fault.kind), []).append(fault)
    order = dice.sample(list(shares.values()), len(shares))
    of_each = [dice.sample(share, len(share)) for share in order]
    turns = (fault for turn in zip_longest(*of_each) for fault in turn if fault is not None)
    return list(islice(turns, cases))


def _every_fault(bench: Bench) -> Iterator[Fault]:
    for operation in OPERATIONS:
        for kind, count in bench.counts(operation).items():
            for number in ERRNOS:
                # The C library takes it for the end of the directory: only a writer can know.
                if (kind, number) == ("readdir", errno.ENOENT) and operation not in WRITING:
                    continue
                for nth in range(1, count + 1):
                    yield Fault(operation, kind, nth, number, sticky=False)
                # Python repeats what was interrupted, by itself and for ever.
                if number != errno.EINTR:
                    for nth in sorted({1, count // 2, count} - {0}):
                        yield Fault(operation, kind, nth, number, sticky=True)


def judge(bench: Bench, fault: Fault, tally: Tally) -> None:
    """Let one fault happen, end it, and look at what is left."""
    truth = bench.fresh()
    found: list[str] = []
    refused: list[str] = []

    def again(store: Store) -> None:
        """After a failed sync of a save this store takes no other."""
        bench.control.disarm()
        if fault.operation in _SAVES and fault.kind in _SYNCS and bench.control.hits:
            try:
                call.save(store, 71)
            except LastgoodError as error:
                refused.append(str(error))
            else:
                refused.append("")

    call = Call(bench.seen, bench.real, truth, PosixDisk(HERE), after=again)
    ended = "hang"
    try:
        with deadline(DEADLINE_S):
            # What is mapped is in the kernel's cache, and the kernel repeats what it read ahead.
            bench.control.direct = int("map" not in fault.operation)
            bench.control.arm(fault.kind, fault.nth, fault.number, sticky=fault.sticky)
            answer = carry_out(OPERATIONS[fault.operation], call)
            bench.control.disarm()
            hit = bench.control.hits > 0
            ended = answer.ended if hit else "not reached"
            found += answer.wrong
            if answer.raw:
                found.append(f"let out {answer.raw}")
            # ENOSYS means to the kernel that there is no such call: it does not ask again.
            if refused == [""] and answer.ended != "returned" and fault.number != errno.ENOSYS:
                found.append(f"took a save after a failed sync ({answer.said[:200]})")
            bench.control.epoch += 1
            # And so it goes on until the disk is mounted anew: what is left is seen without it.
            seen = bench.real if fault.number == errno.ENOSYS else bench.seen
            found += after_faults(seen, bench.real, truth)
    except DeadlineError as error:
        found.append(f"hangs: {error}")
    finally:
        bench.control.disarm()
    tally.count(PART, [ended])
    tally.find(PART, str(fault), found)


def after_faults(seen: Path, real: Path, truth: Truth) -> list[str]:
    """What may not be once the faults have ended: something lost, moved, or not found."""
    found = lost(real, truth)
    checks: dict[str, Callable[[], str | None]] = {
        "a reader": lambda: _loads(open_read_only(seen, disk=PosixDisk(HERE)), truth),
        "a writer": lambda: _recovers(seen, truth),
    }
    for who, check in checks.items():
        try:
            if (wrong := check()) is not None:
                found.append(f"{who} afterwards {wrong}")
        except Exception as error:
            found.append(f"{who} afterwards: {type(error).__name__}: {error}"[:300])
    return list(dict.fromkeys(found + lost(real, truth)))


def _loads(store: Store, truth: Truth) -> str | None:
    """What is wrong with the newest group that a store loads; None for nothing."""
    loaded = store.load_latest()
    newest = truth.newest()
    if loaded is None or newest is None:
        return "finds nothing"
    name = str(loaded.group.name)
    if name < newest:
        return f"loads {name}, not {newest}"
    if {part: bytes(loaded[part]) for part in loaded.parts} != truth.parts(name):
        return f"loads other bytes than those of {name}"
    return None


def _recovers(seen: Path, truth: Truth) -> str | None:
    with open_store(seen) as store:
        if (wrong := _loads(store, truth)) is not None:
            return wrong
        receipt = store.save(80, NEW)
    again = open_read_only(seen, disk=PosixDisk(HERE)).load_latest()
    if again is None or again.generation != receipt.generation:
        return "does not load what it has just saved"
    return None if tree_of(seen / str(again.group.name)) is not None else "cannot read its save"
