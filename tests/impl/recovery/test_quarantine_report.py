"""What moves to quarantine gets a report: true, hostile to nobody, and in nobody's way."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lastgood
from lastgood import LatestN, QuarantineReport, StorageError
from lastgood.backends.posix import PosixDisk
from lastgood.format.manifest import Manifest, Part
from lastgood.parts.verify import FailedPart
from lastgood.recovery.quarantine import read_report
from lastgood.recovery.quarantine_report import (
    MAX_PARTS,
    SIZE_LIMIT_BYTES,
    SYNC_FAILED,
    ReportError,
    decode_report,
    encode_report,
    part_reports,
    report_name,
)
from tests.impl.cli.commands import run
from tests.impl.disks import (
    PARTS,
    Unsynced,
    WatchedDisk,
    failing,
    fill,
    names_aside,
    names_in,
    open_store,
    tree,
)
from tests.impl.recovery.test_recovery import DAMAGE, IDS, NEW, OLD, Harm

MANY = {**PARTS, "z": b"last"}
REPORT = report_name(NEW)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return fill(tmp_path, (1, 2), MANY, disk=Unsynced(tmp_path))


def set_aside(store: Path, disk: PosixDisk | None = None) -> dict[str, QuarantineReport]:
    """Load as the lease holder; the reports there are then."""
    with open_store(store.parent, disk=disk or Unsynced(store.parent)) as opened:
        loaded = opened.load_latest()
        assert loaded is not None
        assert loaded.step == 1
        return opened.reports()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_report_says_what_was_found_of_which_part(store: Path) -> None:
    (store / NEW / "optim" / "adam").write_bytes(b"moment?")
    report = set_aside(store)[NEW]
    raw = json.loads((store / "quarantine" / REPORT).read_bytes())

    assert raw == report.as_json()
    assert raw["format"] == "lastgood quarantine report 1"
    assert (raw["name"], raw["entry"], raw["generation"], raw["step"]) == (NEW, NEW, 2, 2)
    assert raw["reason"] == "sha_mismatch:optim/adam"
    assert sha(b"moment?") in raw["detail"]
    assert (raw["when_s"], raw["lastgood"]) == (1_700_000_000, version("lastgood"))
    found: dict[str, Any] = {
        part["path"]: (part["verdict"], part["expected"], part["found"]) for part in raw["parts"]
    }
    model, adam = ({"size_bytes": 7, "digest": sha(data)} for data in PARTS.values())
    assert found == {
        "model": ("intact", model, model),
        "optim/adam": ("damaged", adam, {"size_bytes": 7, "digest": sha(b"moment?")}),
        "z": (
            "not_checked",
            {"size_bytes": 4, "digest": sha(b"last")},
            {"size_bytes": None, "digest": None},
        ),
    }
    assert (raw["digest"], raw["parts_not_listed"]) == ("sha256", 0)
    assert any(f"move it to DIR/{NEW}" in line for line in raw["what_to_do"])


@pytest.mark.parametrize(("harm", "reason"), DAMAGE, ids=IDS)
def test_every_kind_of_damage_is_reported_with_its_reason(
    store: Path, harm: Harm, reason: str
) -> None:
    harm(store / NEW)
    reports = set_aside(store)

    assert [report.reason for report in reports.values()] == [reason]
    assert reports[NEW].detail.isprintable()
    damaged = [part.path for part in reports[NEW].parts if part.verdict == "damaged"]
    assert damaged in ([], [reason.partition(":")[2]])


def test_what_a_crash_cut_off_is_called_that_by_who_knows_it(store: Path) -> None:
    (store / NEW / "MANIFEST").unlink()
    reports = set_aside(store)

    assert len(reports) == 1
    for report in reports.values():
        assert "still going on" not in report.detail
        assert "a save that ended before its" in report.detail
        assert report.parts == ()
    assert "still going on" not in run("quarantine", str(store), "--json").stdout


@pytest.mark.parametrize("arguments", [["repair"], ["prune", "--keep-latest", "1"]])
def test_who_moves_a_dead_save_does_not_say_that_it_may_be_going_on(
    store: Path, arguments: list[str]
) -> None:
    (store / "gen-00000003-step-00000003").mkdir()
    (store / "attempt-gen-00000004-step-00000004").mkdir()
    done = run(arguments[0], str(store), *arguments[1:])

    assert done.stdout.count("a save that ended before its") == 2
    assert "going on" not in done.stdout


def test_everything_is_moved_before_the_first_report_is_begun(store: Path) -> None:
    (store / "gen-00000004-step-00000004").mkdir()
    (store / "gen-00000003-step-00000003").touch()
    (store / NEW / "model").unlink()
    disk = WatchedDisk(store.parent)
    assert len(set_aside(store, disk)) == 3
    aside = [call for call in disk.changes() if "quarantine" in call]

    assert [call.split(" ")[0] for call in aside] == [
        "mkdir",
        *["rename"] * 3,
        *["create", "write", "close"] * 3,
    ]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", ["create", "write", "close", "read"])
def test_a_report_that_cannot_be_written_hinders_nothing(
    store: Path, call: str, number: int
) -> None:
    """A full disk, or a broken one: the recovery is done by then, and the store is usable."""
    (store / NEW / "model").unlink()
    disk = Unsynced(store.parent, lambda name, path: fault(name, path, call, number))
    with open_store(store.parent, disk=disk) as opened:
        loaded = opened.load_latest()
        assert loaded is not None
        assert loaded.step == 1
        opened.save(3, PARTS)
        assert opened.load().step == 3

    names = names_in(store / "quarantine")
    # What is read again is the manifest: without it the report has no parts.
    whole = call in ("read", "close")
    assert names == ([NEW, REPORT] if whole else [NEW])
    if whole:
        report = read_report(PosixDisk(), str(store), NEW)
        assert isinstance(report, QuarantineReport)
        assert bool(report.parts) == (call != "read")


def fault(name: str, path: str, call: str, number: int) -> int | None:
    """That call fails on a report, and a read on the manifest of what was moved."""
    is_meant = path.endswith((".report.json", f"quarantine/{NEW}/MANIFEST"))
    return number if name == call and is_meant else None


def test_a_group_whose_sync_failed_is_reported_as_never_acknowledged(store: Path) -> None:
    disk = WatchedDisk(store.parent, failing("fsync_dir", "store"))
    name = "gen-00000003-step-00000003"
    disk.fault = lambda call, path: None
    with open_store(store.parent, disk=disk) as opened:
        disk.fault = failing("fsync_dir", "store")
        with pytest.raises(StorageError):
            opened.save(3, PARTS)
    reports = lastgood.open_read_only(store).reports()

    assert reports[name].reason == SYNC_FAILED
    assert "EIO" in reports[name].detail
    assert not any("take it back" in line for line in reports[name].what_to_do)
    done = run("quarantine", str(store))
    assert SYNC_FAILED in done.stdout
    assert "valid" in done.stdout


def test_what_was_taken_back_works_and_can_be_set_aside_again(store: Path) -> None:
    """As the report says: put right, moved back. Its old report was forgotten there."""
    kept = (store / NEW / "model").read_bytes()
    (store / NEW / "model").unlink()
    report = set_aside(store)[NEW]
    (store / "quarantine" / NEW / "model").write_bytes(kept)
    assert run("quarantine", str(store)).stdout.count("valid") == 1
    (store / "quarantine" / NEW).rename(store / report.name)
    assert run("verify", str(store)).exit_code == 0
    loaded = lastgood.open_read_only(store).load_latest()
    assert loaded is not None
    assert loaded.step == 2

    (store / NEW / "z").unlink()
    reports = set_aside(store)
    assert list(reports) == [f"{NEW}.1"]
    assert reports[f"{NEW}.1"].reason == "missing:z"
    assert reports[f"{NEW}.1"].name == NEW
    assert names_in(store / "quarantine") == [f"{NEW}.1", f"{NEW}.1.report.json", REPORT]


def test_the_commands_know_what_lies_in_quarantine(store: Path) -> None:
    assert "quarantine" not in run("ls", str(store)).stdout
    (store / NEW / "model").unlink()
    set_aside(store)
    before = tree(store)

    assert "1 in quarantine" in run("ls", str(store)).stdout
    assert json.loads(run("ls", str(store), "--json").stdout)["quarantined"] == [NEW]
    done = run("show", str(store), "2")
    assert done.exit_code == 2
    assert f"In quarantine there is {NEW}: `lastgood quarantine` says why." in done.stderr
    assert "quarantine" not in run("show", str(store), "7").stderr
    assert "`lastgood quarantine DIR` says" in run("doctor", str(store)).stdout
    shown = run("quarantine", str(store)).stdout
    assert "2023-11-14 22:13:20Z" in shown
    assert "missing:model" in shown
    row = json.loads(run("quarantine", str(store), "--json").stdout)["groups"][0]
    assert row["report"]["reason"] == row["verdict"] == "missing:model"
    assert tree(store) == before


def unreadable(path: Path, how: str) -> None:
    kept = path.read_bytes()
    path.unlink()
    if how == "fifo":
        os.mkfifo(path)
    elif how == "link":
        path.symlink_to(path.parents[2] / "outside")
    elif how == "folder":
        path.mkdir()
    elif how == "huge":
        path.touch()
        os.truncate(path, SIZE_LIMIT_BYTES + 1)
    elif how == "torn":
        path.write_bytes(kept[: len(kept) // 2])
    elif how == "zeros":
        path.write_bytes(bytes(len(kept)))
    elif how == "of another":
        path.write_bytes(kept.replace(NEW.encode(), OLD.encode()))
    elif how == "deep":
        path.write_bytes(b"[" * 100_000)


@pytest.mark.parametrize(
    "how", ["fifo", "link", "folder", "huge", "torn", "zeros", "of another", "deep", "none"]
)
def test_a_report_that_somebody_has_made_is_no_trouble(store: Path, how: str) -> None:
    (store / NEW / "model").unlink()
    set_aside(store)
    (store.parent / "outside").write_bytes((store / "quarantine" / REPORT).read_bytes())
    unreadable(store / "quarantine" / REPORT, how)
    before = tree(store)
    done = run("quarantine", str(store), "--json")

    assert done.exit_code == 0
    (row,) = json.loads(done.stdout)["groups"]
    assert row["verdict"] == "missing:model"
    assert list(row["report"]) == ["error"]
    assert "expected" in row["report"]["error"] or how == "deep"
    assert run("quarantine", str(store)).exit_code == 0
    assert lastgood.open_read_only(store).reports() == {}
    assert tree(store) == before
    with open_store(store.parent, disk=Unsynced(store.parent)) as opened:
        opened.save(3, PARTS)
        opened.repair()
        opened.prune(LatestN(1))
        assert opened.load().step == 3


def test_a_prune_and_a_repair_report_as_a_load_does(store: Path) -> None:
    (store / OLD / "model").unlink()
    with open_store(store.parent, disk=Unsynced(store.parent)) as opened:
        opened.save(3, PARTS)
        opened.repair()
        (store / "gen-00000009-step-00000009").mkdir()
        opened.close()
    with open_store(store.parent, disk=Unsynced(store.parent)) as opened:
        opened.prune(LatestN(1))
        reports = opened.reports()

    assert {entry: report.reason for entry, report in reports.items()} == {
        OLD: "missing:model",
        "gen-00000009-step-00000009": "no_commit",
    }
    assert names_aside(store) == sorted(reports)


def test_a_report_lists_some_hundred_parts_and_always_the_damaged_one() -> None:
    parts = tuple(Part(f"p{n}", n, sha(b"%d" % n)) for n in range(MAX_PARTS + 10))
    manifest = Manifest(1, 1, "x", parts)
    few, none_left = part_reports(Manifest(1, 1, "x", parts[:3]), FailedPart("p1", 0, sha(b"")))
    many, left = part_reports(manifest, FailedPart("p515"))

    assert ([part.verdict for part in few], none_left) == (["intact", "damaged", "not_checked"], 0)
    assert (len(many), left) == (MAX_PARTS, 10)
    assert [part.path for part in many if part.verdict == "damaged"] == ["p515"]


REPORTED = QuarantineReport(
    NEW, f"{NEW}.3", 2, 2, "attempt", "cut off", None, "0.1", ("look",), None, (), 0
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(REPORTED.as_json())), value=JSON)
def test_no_value_makes_a_reader_fail_or_is_taken_for_another(key: str, value: Any) -> None:
    raw = {**REPORTED.as_json(), key: value}
    try:
        report = decode_report(json.dumps(raw).encode(), f"{NEW}.3")
    except ReportError:
        return
    assert json.loads(encode_report(report)) == raw
    assert report.generation == 2


@given(data=st.binary(max_size=200))
def test_no_bytes_make_a_reader_of_reports_fail(data: bytes) -> None:
    with pytest.raises(ReportError):
        decode_report(data, NEW)


def test_a_report_is_read_as_it_was_written() -> None:
    assert decode_report(encode_report(REPORTED), f"{NEW}.3") == REPORTED
