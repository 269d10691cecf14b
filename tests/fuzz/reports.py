"""A target on stores whose reports in quarantine strangers wrote, or change as somebody looks.

Nothing depends on a report but the age by which its entry is purged. So what a store without one
says, it says with any, but for the room that reports take.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from unittest import mock

from lastgood import QuarantineReport, Store
from lastgood.backends.posix import PosixDisk
from lastgood.format.names import GroupName
from lastgood.recovery.quarantine import read_report
from lastgood.recovery.quarantine_report import (
    REPORT_SUFFIX,
    SIZE_LIMIT_BYTES,
    PartReport,
    advice,
    encode_report,
    report_name,
)
from lastgood.recovery.recovery import Group
from tests.fuzz.aside import (
    Aside,
    name_of,
    newest_of,
    require_newest_only,
    require_purge,
    used_by_reports,
)
from tests.fuzz.stores import run_command, sandbox
from tests.fuzz.tape import Tape
from tests.fuzz.trees import Names, Sandbox, put_group, value
from tests.fuzz.values import require_sound
from tests.fuzz.watching import photograph, watched
from tests.impl.disks import EXT4, open_store

MOST: Final = 6
"""So many entries are in quarantine at most."""
_LONG: Final = 1000
"""So many values are in a list of a report at most: more than any true one has."""
_GOOD: Final = GroupName(7, 7)
_LAST: Final = GroupName(8, 8)
_ORPHAN: Final = GroupName(6, 6)
"""The group that a report is on whose entry somebody has taken away."""
_SHA: Final = "0" * 64
_NOW_S: Final = (5, 4, 6, 105, 1_700_000_000)
"""True reports are of second 5."""
_LEAST_S: Final = (0, 0.5, 1, 100, 10**9)

Edit = Callable[[dict[str, Any], Tape], object]


def store_reports(data: bytes) -> None:
    """Reports of every kind in quarantine: read or called unreadable, and in nobody's way."""
    tape = Tape(data)
    command, swap = tape.byte(), tape.byte()
    with sandbox() as box:
        put_group(box, (str(_GOOD).encode(),), _GOOD, 9)
        box.write((b"quarantine", b"theirs", b"file"), b"x")
        box.write((b"quarantine", b"theirs.report.json"), b"{}")
        whole = dict(_entry(box, tape, number) for number in range(tape.byte() % MOST))
        arguments = _command(box, swap) if command % 4 == 1 else []
        without = _said(arguments)
        true = {entry for entry in whole if _put_report(box, entry, tape)}
        if tape.byte() % 2 and str(_ORPHAN) not in whole:
            _put_report(box, str(_ORPHAN), tape)
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
        assert with_them == _with_reports(without, used_by_reports(box.store))
        assert photograph(box.store.parent) == before
        if command % 4 == 0:
            _set_one_more_aside(box, whole, swap)
        elif command % 4 == 2:
            _look_while_they_change(box, whole, swap)
        elif command % 4 == 3:
            _purge(box, whole, reports, swap, tape.byte())


def _entry(box: Sandbox, tape: Tape, number: int) -> tuple[str, bool]:
    """An entry of the quarantine, and whether it is a whole group."""
    kind = tape.byte()
    name = GroupName(kind % 9, kind % 9, attempt=kind % 5 == 1)
    entry = f"{name}.{number}" if number else str(name)
    home: Names = (b"quarantine", entry.encode())
    put_group(box, home, name, kind)
    if kind % 2:
        box.path((*home, b"MANIFEST")).unlink()
    if kind % 16 == 13:
        box.path((*home, b"way")).symlink_to(box.outside)
    elif kind % 16 == 15:  # whoever follows it leaves the store
        shutil.rmtree(box.path(home))
        box.path(home).symlink_to(box.outside)
    return entry, not kind % 2 and not name.attempt


def _true_report(entry: str, name: GroupName) -> QuarantineReport:
    parts = (PartReport("model", "damaged", 7, _SHA, 3, _SHA),)
    todo = advice(str(name), entry, "missing:model")
    told = ("missing:model", "'model' is missing", 5, "0.1.0", todo, "sha256", parts, 0)
    return QuarantineReport(str(name), entry, name.generation, name.step, *told)


def _put_report(box: Sandbox, entry: str, tape: Tape) -> bool:
    """A report on an entry, or something in place of one; whether it is a true one."""
    name = name_of(entry)
    data = encode_report(_true_report(entry, name))
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
        raw[key] = (raw[key] * (tape.byte() * 3))[:_LONG]


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
        assert (report.entry, report.name) == (entry, str(name_of(entry)))
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


def _said(arguments: list[str]) -> tuple[int, Any]:
    """The status of a command and all that it says, but for the reports themselves."""
    if not arguments:
        return 0, None
    done = run_command(arguments, as_json=True)
    found = json.loads(done.stdout)
    for row in found.get("groups", []):
        row.pop("report", None)
    found.pop("free_bytes", None)  # others write to the same disk
    return done.exit_code, found


def _with_reports(said: tuple[int, Any], used: dict[str, int]) -> tuple[int, Any]:
    """What a command has to say where reports take so many bytes that it did not see before."""
    status, found = said
    for where in (found, (found or {}).get("store")):
        if isinstance(where, dict) and where.get("quarantined_bytes") is not None:
            where["quarantined_bytes"] += sum(used.values())
    for row in (found or {}).get("groups", []):
        if row.get("used_bytes") is not None:
            row["used_bytes"] += used.get(row["name"], 0)
    return status, found


def _set_one_more_aside(box: Sandbox, whole: dict[str, bool], swap: int) -> None:
    """A writer moves a group there: nothing in quarantine is touched, and there is a report.

    Where it has no MANIFEST, older ones that have none go.
    """
    put_group(box, (str(_LAST).encode(),), _LAST, 9)
    lacks = ("part0", "MANIFEST")[swap % 2]
    box.path((str(_LAST).encode(), lacks.encode())).unlink()
    before = Aside(box.store)
    with watched(box, may_change=True) as disk, open_store(box.store.parent, disk=disk) as store:
        loaded = store.load_latest()
        assert loaded is not None
        assert loaded.generation == _GOOD.generation
        came = store.quarantined().keys() - whole.keys()
        assert len(came) == 1, f"one was set aside, and {len(came)} came"
        (entry,) = came
        reason = "no_commit" if swap % 2 else "missing:part0"
        assert store.reports()[entry].reason == reason
        assert store.save(9, {"model": b"new"}).generation > _LAST.generation
    gone = require_newest_only(before, Aside(box.store))
    assert swap % 2 or not gone, "a damaged group took others with it"


def _purge(
    box: Sandbox,
    whole: dict[str, bool],
    reports: dict[str, QuarantineReport],
    swap: int,
    number: int,
) -> None:
    """A writer purges some by name, by age or all: no report decides but the age of its own."""
    entries = Aside(box.store).entries
    now_s = float(_NOW_S[number % len(_NOW_S)])
    whens = {entry: report.when_s for entry, report in reports.items()}
    if str(_ORPHAN) in entries - whole.keys():
        found = read_report(PosixDisk(EXT4), str(box.store), str(_ORPHAN))
        whens[str(_ORPHAN)] = found.when_s if isinstance(found, QuarantineReport) else None
    ages = {e: None if (when := whens.get(e)) is None else now_s - when for e in sorted(entries)}
    asked: dict[str, Any] = {"entries": "all"}
    if swap % 3 == 1:
        asked = {"entries": [e for n, e in enumerate(ages) if number >> n % 8 & 1]}
    elif swap % 3 == 2:
        asked = {"older_than_s": _LEAST_S[number // len(_NOW_S) % len(_LEAST_S)]}
    is_of_all = asked == {"entries": "all"}
    _, said = _said(["purge", str(box.store), "--all", "--dry-run"] if is_of_all else [])
    outside = photograph(box.outside)
    with (
        watched(box, may_change=True) as disk,
        open_store(box.store.parent, disk=disk, now=lambda: now_s) as store,
    ):
        gone = require_purge(store, box.store, asked, ages)
        assert set(store.quarantined()) >= whole.keys() - gone
        receipt = store.save(9, {"model": b"new"})
        taken = newest_of((*ages, str(_GOOD)))
        assert receipt.generation > taken, "a generation of what was purged was given again"
        assert store.load().generation == receipt.generation
    if is_of_all:
        assert {each["entry"] for each in said["deleted"]} == gone
    assert photograph(box.outside).keys() == outside.keys()
    for path, one in photograph(box.outside).items():
        assert one[-1] == outside[path][-1], "a purge left the store"


class _Swapping(PosixDisk):
    """A disk on which somebody replaces each report after a look, before its reading or deletion.

    `spared` looks at each come before that one.
    """

    def __init__(self, swap: int) -> None:
        super().__init__(EXT4)
        self.spared = 0
        self._swap, self._looks = swap, dict[str, int]()

    def kind(self, path: str) -> str:
        found = super().kind(path)
        if found == "file" and path.endswith(REPORT_SUFFIX):
            self._looks[path] = self._looks.get(path, 0) + 1
            if self._looks[path] > self.spared:
                self._replace(path)
        return found

    def _sync(self, fd: int) -> None:
        """Nothing: no machine dies here."""

    def _replace(self, path: str) -> None:
        os.unlink(path)
        if self._swap % 5 == 1:
            os.symlink(("/dev/zero", path, "nowhere", "..")[self._swap // 5 % 4], path)
        elif self._swap % 5 == 2:
            os.mkdir(path)
        elif self._swap % 5 == 3:
            os.mkfifo(path)
        elif self._swap % 5 == 4:
            Path(path).write_bytes(b"{")


def _look_while_they_change(box: Sandbox, whole: dict[str, bool], swap: int) -> None:
    """Whatever is there when a report is opened: it has no report then, and all else is as ever."""
    disk = _Swapping(swap)
    disk.spared = swap // 80
    with mock.patch("lastgood.cli.read_commands.disk_here", return_value=disk):
        if swap // 20 % 2:
            run_command(["quarantine", str(box.store)], as_json=swap // 40 % 2 == 1)
        else:
            _purge_while_they_change(box, disk, swap // 40 % 2)
            whole = {entry: one for entry, one in whole.items() if entry in _aside_now(box)}
        disk.spared = 0
        store = Store(str(box.store), writable=False, disk=disk, workers=1)
        assert store.reports() == {}
        assert {
            entry: isinstance(one, Group) for entry, one in store.quarantined().items()
        } == whole


def _purge_while_they_change(box: Sandbox, disk: _Swapping, by_age: int) -> None:
    """A purge by age takes nothing whose report went before it was read; one of all takes all.

    But for an entry whose group is in the store, or whose report has become a directory.
    """
    before = Aside(box.store)
    with open_store(box.store.parent, disk=disk) as store:
        if by_age:
            store.purge(older_than_s=0, dry_run=disk.spared == 1)
        else:
            store.purge("all")
    after = Aside(box.store)
    assert before.rest.keys() - after.rest.keys() == set(), "a purge took what is not in quarantine"
    there = before.entries & before.tops.keys()
    left = there & after.tops.keys()
    if by_age and disk.spared < 2:  # it is looked at for its size, then to be read
        assert left == there, "of an age that nobody can know"
    elif not by_age:
        stays = {e for e in there if str(name_of(e)) == str(_GOOD)}
        turned = {e for e in there if after.has_folder_as_report(e)}
        assert stays <= left <= stays | turned, "a purge of all left another thing"
    for name in left | {"theirs"}:
        assert after.tops[name] == before.tops[name], f"touched: {name}"


def _aside_now(box: Sandbox) -> set[str]:
    return set(Aside(box.store).tops)
