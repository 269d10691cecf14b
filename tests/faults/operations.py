"""Every operation of the library, each called as a program calls it, and what it answered."""

from __future__ import annotations

import contextlib
import os
import re
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import Factory, define
from click.testing import CliRunner

from lastgood import LastgoodError, LatestN, Store, open_read_only
from lastgood.backends.posix import PosixDisk
from lastgood.cli.main import cli
from lastgood.parts.holding_reader import Hold
from tests.faults.stores import HERE, Parts, Truth, content, name_of, open_store

CAN_PURGE: Final = hasattr(Store, "purge")
NEW_STEP: Final = 70
NEW: Final[Parts] = {"model": content("new", 7000), "optim/adam": content("newer", 60)}
KEPT: Final = 2
"""The policy of every prune here: so many of the newest."""


class ForeignError(Exception):
    """The disk failed the foreign code that fills an attempt: that error is its own."""


@define
class Answer:
    """The end of an operation. `raw` is an error that the library let out and should not have."""

    ended: str = "returned"
    said: str = ""
    raw: str = ""
    wrong: list[str] = Factory(list)


@define
class Call:
    """One operation on the store at `path`, seen through `disk`.

    `plain` is the same store without faults, for what foreign code does. What the operation has
    acknowledged or given up is noted in `truth`.
    """

    path: Path
    plain: Path
    truth: Truth
    disk: PosixDisk = Factory(lambda: PosixDisk(HERE))
    wrong: list[str] = Factory(list)
    after: Callable[[Store], None] = lambda _store: None

    def writer(self, **more: Any) -> Store:
        """A store to write to."""
        return open_store(self.path, self.disk, **more)

    def reader(self) -> Store:
        """A store to read from."""
        return open_read_only(self.path, disk=self.disk)

    def save(self, store: Store, step: int = NEW_STEP) -> None:
        """Save a group, and note that it was acknowledged."""
        name = self._next_name(step)
        self.truth.begun[name] = NEW
        receipt = store.save(step, NEW)
        if receipt.retention_error is None and receipt.pruned:
            self.truth.given_up |= set(receipt.pruned)
        self._acknowledge(receipt.generation, step)

    def attempt(self, store: Store) -> None:
        """Let foreign code fill an attempt; its own files are not subject to the faults."""
        self.truth.begun[self._next_name(NEW_STEP)] = NEW
        with store.attempt(NEW_STEP) as attempt:
            home = self.plain / Path(attempt).name
            try:
                (home / "optim").mkdir()
                for name, data in NEW.items():
                    (home / name).write_bytes(data)
            except OSError as error:
                raise ForeignError from error
        receipt = attempt.receipt
        assert receipt is not None
        self._acknowledge(receipt.generation, NEW_STEP)

    def _next_name(self, step: int) -> str:
        names: list[str] = []
        for place in (self.plain, self.plain / "quarantine"):
            with contextlib.suppress(OSError):
                names += os.listdir(place)
        numbers = [int(found[1]) for n in names if (found := re.search(r"gen-(\d{8})", n))]
        return name_of(max(numbers, default=0) + 1, step)

    def _acknowledge(self, generation: int, step: int) -> None:
        name = name_of(generation, step)
        self.truth.note(self.plain, name, NEW)

    def check(self, handed: Any) -> None:
        """Whatever a load hands out is one group that was saved, and the newest, or it tells."""
        if handed is None:
            self.wrong.append("a load found nothing, and groups are there")
            return
        name = str(handed.group.name)
        if {part: bytes(handed[part]) for part in handed.parts} != self.truth.parts(name):
            self.wrong.append(f"a load handed out {name} with bytes that nobody saved")
        told = {each.name for each in handed.rejected}
        silent = {n for n in set(self.truth.groups) - self.truth.given_up if n > name} - told
        if silent:
            self.wrong.append(f"a load took {name} and passed over {sorted(silent)} silently")

    def prune(self, store: Store) -> None:
        """Prune to the newest; what a policy may take is noted beforehand."""
        self.truth.given_up |= set(sorted(self.truth.groups)[:-KEPT])
        store.prune(LatestN(KEPT))

    def command(self, *arguments: str) -> None:
        """`lastgood ARGUMENTS… STORE`: an exit status, words, and no traceback."""
        done = CliRunner().invoke(cli, [arguments[0], str(self.path), *arguments[1:]])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        if done.exit_code not in (0, 1, 2, 3, 4) or "Traceback" in done.output:
            self.wrong.append(f"status {done.exit_code}: {done.output[-300:]}")


def _saving(**more: Any) -> Callable[[Call], None]:
    def operation(call: Call) -> None:
        with call.writer(**more) as store:
            _then(call, store, lambda: call.save(store))

    return operation


def _then(call: Call, store: Store, act: Callable[[], Any]) -> None:
    """Act on an open store, and whatever came of it, let the campaign try that store again."""
    try:
        act()
    finally:
        call.after(store)


def _attempting(form: str) -> Callable[[Call], None]:
    def operation(call: Call) -> None:
        with call.writer(form=form) as store:
            _then(call, store, lambda: call.attempt(store))

    return operation


def _keeping(call: Call) -> None:
    with call.writer(keep=LatestN(KEPT)) as store:
        call.truth.given_up |= set(sorted(call.truth.groups)[: 1 - KEPT])
        _then(call, store, lambda: call.save(store))


def _writer_load(call: Call) -> None:
    with call.writer() as store:
        _then(call, store, lambda: call.check(store.load_latest()))


def _reader_load(hold: Hold) -> Callable[[Call], None]:
    def operation(call: Call) -> None:
        call.check(call.reader().load_latest(hold=hold))

    return operation


def _ranges(call: Call) -> None:
    opened = call.reader().open_group()
    if opened is None:
        call.wrong.append("open_group found nothing, and groups are there")
        return
    files = call.truth.groups.get(str(opened.group.name), {})
    for part in opened.parts:
        wanted = files.get(part, b"")[:20]
        if bytes(opened.read_range(part, 0, len(wanted))) != wanted:
            call.wrong.append(f"read_range of {part} handed out other bytes")


def _older(call: Call) -> None:
    name = min(call.truth.groups)
    loaded = call.reader().load(generation=int(name[4:12]))
    if {part: bytes(loaded[part]) for part in loaded.parts} != call.truth.parts(name):
        call.wrong.append(f"load(generation=…) handed out other bytes than those of {name}")


def _looks(call: Call) -> None:
    reader = call.reader()
    reader.verify()
    reader.groups()
    reader.latest_step()
    reader.quarantined()
    reader.reports()


def _prune(call: Call) -> None:
    with call.writer() as store:
        _then(call, store, lambda: call.prune(store))


def _dry_run(call: Call) -> None:
    call.reader().prune(LatestN(KEPT), dry_run=True)


def _repair(call: Call) -> None:
    with call.writer() as store:
        _then(call, store, store.repair)


def _purge(call: Call) -> None:
    with call.writer() as store:
        _then(call, store, lambda: purge(store))


def _commands(*names: str) -> Callable[[Call], None]:
    def operation(call: Call) -> None:
        for name in names:
            call.command(name)

    return operation


def _prune_command(call: Call) -> None:
    call.truth.given_up |= set(sorted(call.truth.groups)[:-KEPT])
    call.command("prune", "--keep-latest", str(KEPT))


def purge(store: Any) -> None:
    """Empty the quarantine."""
    store.purge("all")


CHANGING: Final[Mapping[str, Callable[[Call], None]]] = {
    "save (rename form)": _saving(form="rename"),
    "save (record form)": _saving(form="record"),
    "save (chunks)": _saving(chunk_bytes=4096),
    "save and retain": _keeping,
    "attempt (rename form)": _attempting("rename"),
    "attempt (record form)": _attempting("record"),
    "recovery": _writer_load,
    "prune": _prune,
    "repair": _repair,
    **({"purge": _purge} if CAN_PURGE else {}),
}
"""The operations that change a store."""
LOOKING: Final[Mapping[str, Callable[[Call], None]]] = {
    "load": _reader_load("nothing"),
    "load (memory)": _reader_load("memory"),
    "load (map)": _reader_load("map"),
    "load an older one": _older,
    "open_group, read_range": _ranges,
    "verify, groups, quarantined": _looks,
    "prune (dry run)": _dry_run,
    "lastgood ls, latest, why": _commands("ls", "latest", "why"),
    "lastgood verify, quarantine": _commands("verify", "quarantine"),
}
"""Those that only look."""
COMMANDS: Final[Mapping[str, Callable[[Call], None]]] = {
    "lastgood prune": _prune_command,
    "lastgood repair": _commands("repair"),
}
"""The commands that change a store."""


def carry_out(operation: Callable[[Call], None], call: Call) -> Answer:
    """Carry an operation out; whatever is no LastgoodError is noted as raw."""
    answer = Answer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            operation(call)
        except LastgoodError as error:
            answer.ended, answer.said = type(error).__name__, str(error)
        except ForeignError:
            answer.ended = "foreign code failed"
        except Exception as error:
            at = " < ".join(
                f"{f.name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)[:-8:-1]
            )
            answer.ended, answer.raw = "raw", f"{type(error).__name__}: {error} (in {at})"
    answer.wrong = call.wrong
    return answer
