"""A target on stores whose reports in quarantine strangers wrote, or change as somebody looks.

Nothing depends on a report. So what a store without one says, it says with any.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from unittest import mock

from lastgood import QuarantineReport, Store
from lastgood.backends.posix import PosixDisk
from lastgood.format.names import GroupName
from lastgood.recovery.quarantine_report import (
    REPORT_SUFFIX,
    SIZE_LIMIT_BYTES,
    PartReport,
    advice,
    encode_report,
    report_name,
)
from lastgood.recovery.recovery import Group
from tests.fuzz.stores import run_command, sandbox
from tests.fuzz.tape import Tape
from tests.fuzz.trees import Names, Sandbox, put_group, value
from tests.fuzz.values import require_sound
from tests.fuzz.watching import photograph, watched
from tests.impl.disks import EXT4, open_store

MOST: Final = 6
"""So many entries are in quarantine at most."""
_GOOD: Final = GroupName(7, 7)
_LAST: Final = GroupName(8, 8)
_SHA: Final = "0" * 64

Edit = Callable[[dict[str, Any], Tape], object]


def store_reports(data: bytes) -> None:
    """Reports of every kind in quarantine: read or called unreadable, and in nobody's way."""
    tape = Tape(data)
    command, swap = tape.byte(), tape.byte()
    with sandbox() as box:
        put_group(box, (str(_GOOD).encode(),), _GOOD, 9)
        whole = dict(_entry(box, tape, number) for number in range(tape.byte() % MOST))
        arguments = _command(box, swap) if command % 4 == 1 else []
        without = _said(arguments)
        true = {entry for entry in whole if _put_report(box, entry, tape)}
        if tape.byte() % 2:  # on what somebody has taken away
            _put_report(box, str(GroupName(6, 6)), tape)
        before = photograph(box.store.parent)
        with watched(box, may_change=False) as disk:
            store = Store(str(box.store), writable=False, disk=disk, workers=1)
            aside, reports = store.quarantined(), store.reports()
            with_them = _said(arguments)
            if arguments:
                assert run_command(arguments, as_json=False).exit_code == with_them[0]
        assert {entry: isinstance(one, Group) for entry, one in aside.items()} == whole
        assert true <= set(reports) <= set(whole), "a true report is left out, or one is made up"
        _require_as_written(box, reports)
        assert with_them == without, "a report decides something"
        assert photograph(box.store.parent) == before
        if command % 4 == 0:
            _set_one_more_aside(box, whole)
        elif command % 4 == 2:
            _look_while_they_change(box, whole, swap)


def _entry(box: Sandbox, tape: Tape, number: int) -> tuple[str, bool]:
    """An entry of the quarantine, and whether it is a whole group."""
    kind = tape.byte()
    name = GroupName(kind % 9, kind % 9, attempt=kind % 5 == 1)
    entry = f"{name}.{number}" if number else str(name)
    home: Names = (b"quarantine", entry.encode())
    put_group(box, home, name, kind)
    if kind % 2:
        box.path((*home, b"MANIFEST")).unlink()
    return entry, not kind % 2 and not name.attempt


def _true_report(entry: str, name: GroupName) -> QuarantineReport:
    parts = (PartReport("model", "damaged", 7, _SHA, 3, _SHA),)
    todo = advice(str(name), entry, "missing:model")
    told = ("missing:model", "'model' is missing", 5, "0.1.0", todo, "sha256", parts, 0)
    return QuarantineReport(str(name), entry, name.generation, name.step, *told)


def _put_report(box: Sandbox, entry: str, tape: Tape) -> bool:
    """A report on an entry, or something in place of one; whether it is a true one."""
    number = parse(entry)
    data = encode_report(_true_report(entry, number))
    path: Names = (b"quarantine", report_name(entry).encode())
    kind = tape.byte() % 12
    if kind == 0:
        box.write(path, data)
        return True
    if kind < 5:
        raw = json.loads(data)
        for _ in range(1 + tape.byte() % 3):
            _EDITS[tape.byte() % len(_EDITS)](raw, tape)
        box.write(path, json.dumps(raw).encode())
    elif kind == 5:
        at, width = tape.number() % len(data), tape.byte()
        box.write(path, data[:at] + tape.blob() + data[at + width :])
    elif kind == 6:
        box.write(path, tape.blob())
    elif kind == 7:
        box.write(path, (b"[", b'{"a":', b'"', b"9")[tape.byte() % 4] * (tape.number() % 100_000))
    elif kind == 8:
        box.write(path, data, SIZE_LIMIT_BYTES + tape.byte() % 3 - 1)
    elif kind == 9:
        targets = ("../../outside/model", "/dev/zero", report_name(entry), "nowhere", ".")
        _make(box, path, lambda at: at.symlink_to(targets[tape.byte() % len(targets)]))
    elif kind == 10:
        make = (os.mkfifo, os.mkdir, lambda at: os.link(box.outside / "model", at))
        _make(box, path, make[tape.byte() % 3])
    return False


def _make(box: Sandbox, path: Names, make: Callable[[Path], object]) -> None:
    with box.folder(path[:-1]):
        make(box.path(path))


def parse(entry: str) -> GroupName:
    """The name that an entry of the quarantine had in the store."""
    words = entry.partition(".")[0].split("-")
    return GroupName(int(words[-3]), int(words[-1]), attempt=words[0] == "attempt")


def _set(where: dict[str, Any], tape: Tape) -> None:
    where[sorted(where)[tape.byte() % len(where)]] = value(tape)


def _in_a_part(raw: dict[str, Any], tape: Tape) -> None:
    part = raw["parts"][0] if isinstance(raw.get("parts"), list) and raw["parts"] else raw
    inner = part.get("found") if isinstance(part, dict) and tape.byte() % 2 else part
    if isinstance(inner, dict) and inner:
        _set(inner, tape)


def _many(raw: dict[str, Any], tape: Tape) -> None:
    key = ("parts", "what_to_do")[tape.byte() % 2]
    if isinstance(raw.get(key), list):
        raw[key] = raw[key] * (tape.byte() * 3)


_EDITS: Final[tuple[Edit, ...]] = (
    _set,
    _in_a_part,
    _many,
    lambda raw, tape: raw.update(format=f"lastgood quarantine report {tape.byte()}"),
    lambda raw, tape: raw.update({f"key{tape.byte()}": value(tape)}),
    lambda raw, tape: raw.pop(sorted(raw)[tape.byte() % len(raw)]) if raw else None,
    lambda raw, tape: raw.update(detail=tape.blob().decode("utf-8", "surrogateescape")),
)


def _require_as_written(box: Sandbox, reports: dict[str, QuarantineReport]) -> None:
    """Each says what its file says, of the entry beside it, and is sound."""
    for entry, report in reports.items():
        data = box.read((b"quarantine", report_name(entry).encode()))
        assert json.loads(encode_report(report)) == json.loads(data), "not what the file says"
        assert (report.entry, report.name) == (entry, str(parse(entry)))
        require_sound(report)


def _command(box: Sandbox, number: int) -> list[str]:
    commands: tuple[tuple[str, list[str]], ...] = (
        ("quarantine", []),
        ("show", [str(_GOOD.generation)]),
        ("ls", []),
        ("why", []),
        ("doctor", []),
        ("verify", []),
        ("prune", ["--keep-latest", "1", "--dry-run"]),
        ("repair", ["--dry-run"]),
    )
    word, more = commands[number % len(commands)]
    return [word, str(box.store), *more]


def _said(arguments: list[str]) -> tuple[int, object]:
    """The status of a command and all that it says, but for the reports themselves."""
    if not arguments:
        return 0, None
    done = run_command(arguments, as_json=True)
    found = json.loads(done.stdout)
    for row in found.get("groups", []):
        row.pop("report", None)
    found.pop("free_bytes", None)  # others write to the same disk
    return done.exit_code, found


def _set_one_more_aside(box: Sandbox, whole: dict[str, bool]) -> None:
    """A writer moves a group there: nothing in quarantine is touched, and there is a report."""
    put_group(box, (str(_LAST).encode(),), _LAST, 9)
    box.path((str(_LAST).encode(), b"part0")).unlink()
    aside = os.fsencode(box.store / "quarantine")
    before = {path: one for path, one in photograph(box.store).items() if path.startswith(aside)}
    before.pop(aside, None)
    with watched(box, may_change=True) as disk, open_store(box.store.parent, disk=disk) as store:
        loaded = store.load_latest()
        assert loaded is not None
        assert loaded.generation == _GOOD.generation
        (entry,) = store.quarantined().keys() - whole.keys()
        assert store.reports()[entry].reason == "missing:part0"
        assert store.save(9, {"model": b"new"}).generation > _LAST.generation
    assert photograph(box.store).items() >= before.items(), "what was in quarantine was touched"


class _Swapping(PosixDisk):
    """A disk on which somebody replaces each report between a look at it and its reading."""

    def __init__(self, swap: int) -> None:
        super().__init__(EXT4)
        self._swap = swap

    def kind(self, path: str) -> str:
        found = super().kind(path)
        if found == "file" and path.endswith(REPORT_SUFFIX):
            os.unlink(path)
            if self._swap % 5 == 1:
                os.symlink(("/dev/zero", path, "nowhere", "..")[self._swap // 5 % 4], path)
            elif self._swap % 5 == 2:
                os.mkdir(path)
            elif self._swap % 5 == 3:
                os.mkfifo(path)
            elif self._swap % 5 == 4:
                Path(path).write_bytes(b"{")
        return found


def _look_while_they_change(box: Sandbox, whole: dict[str, bool], swap: int) -> None:
    """Whatever is there when a report is opened: it has no report then, and all else is as ever."""
    disk = _Swapping(swap)
    with mock.patch("lastgood.cli.read_commands.disk_here", return_value=disk):
        if swap // 20 % 2:
            run_command(["quarantine", str(box.store)], as_json=swap // 40 % 2 == 1)
        store = Store(str(box.store), writable=False, disk=disk, workers=1)
        assert store.reports() == {}
        assert {
            entry: isinstance(one, Group) for entry, one in store.quarantined().items()
        } == whole
