"""The other commands: what they say, what they change, and what they refuse."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

import lastgood
import lastgood.cli.doctor
from lastgood import Store
from lastgood.backends.posix import PosixDisk
from lastgood.cli.doctor import diagnose
from lastgood.cli.main import cli
from tests.impl.cli.commands import run, said
from tests.impl.disks import (
    EXT4,
    PARTS,
    WEAK,
    WatchedDisk,
    WeakOnceSynced,
    failing,
    names_aside,
    names_in,
    open_store,
    tree,
)

GROUPS = [f"gen-{n:08d}-step-{10 * n:08d}" for n in (1, 2, 3)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with open_store(tmp_path) as opened:
        for number in (1, 2, 3):
            parts = {**PARTS, f"only{number}": b"x"} if number > 1 else PARTS
            opened.save(10 * number, parts, {"loss": 1 / number, "same": True})
    return tmp_path.resolve() / "store"


def test_every_command_takes_json_and_documents_its_exit_status() -> None:
    names = [
        "ls",
        "show",
        "verify",
        "latest",
        "why",
        "prune",
        "purge",
        "repair",
        "quarantine",
        "doctor",
        "diff",
        "bench",
        "guard",
    ]

    assert sorted(cli.commands) == sorted(names)
    for name in names:
        text = run(name, "--help").stdout
        assert "--json" in text
        assert "Exit status:" in text


def test_show_prints_the_manifest(store: Path) -> None:
    shown = said("show", str(store), "2")

    assert (shown["generation"], shown["step"], shown["digest"]) == (2, 20, "sha256")
    assert [part["path"] for part in shown["parts"]] == ["model", "optim/adam", "only2"]
    assert shown["metadata"] == {"loss": 0.5, "same": True}
    text = run("show", str(store), "2")
    assert text.exit_code == 0
    assert shown["parts"][0]["digest"][:20] in text.stdout


def test_of_two_groups_of_one_generation_show_takes_the_one_that_a_load_takes(
    tmp_path: Path,
) -> None:
    for home, step in (("one", 1), ("other", 2)):
        with open_store(tmp_path / home) as opened:
            opened.save(step, PARTS)
    twin = "gen-00000001-step-00000002"
    (tmp_path / "other/store" / twin).rename(tmp_path / "one/store" / twin)
    loaded = lastgood.open_read_only(tmp_path / "one/store").load_latest()

    assert loaded is not None
    assert said("show", str(tmp_path / "one/store"), "1")["step"] == loaded.step


def test_show_of_a_damaged_manifest_says_what_is_wrong(store: Path) -> None:
    (store / GROUPS[1] / "MANIFEST").write_bytes(b"junk")
    done = run("show", str(store), "2")

    assert (done.exit_code, "manifest_error:not_a_manifest" in done.stderr) == (1, True)
    assert run("show", str(store), "9").exit_code == 2


def test_why_says_what_is_taken_and_why_the_newer_is_not(store: Path) -> None:
    (store / GROUPS[2] / "model").write_bytes(b"weight?")
    before = tree(store)
    done = run("why", str(store))
    answer = said("why", str(store))

    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].startswith(f"not {GROUPS[2]}: 'model' has the SHA-256")
    assert done.stdout.splitlines()[1].startswith(f"{GROUPS[1]}: every part")
    assert answer["taken"]["generation"] == 2
    assert [row["verdict"] for row in answer["passed_over"]] == ["sha_mismatch:model"]
    assert tree(store) == before


def test_why_of_a_store_without_a_group_has_the_status_1(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    done = run("why", str(tmp_path / "store"))

    assert (done.exit_code, done.stdout) == (1, "nothing: there is no group\n")


def test_diff_tells_parts_and_metadata_apart(store: Path) -> None:
    done = run("diff", str(store), "2", "3")

    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "- only2",
        "+ only3",
        f"metadata loss: 0.5 -> {1 / 3}",
    ]
    assert run("diff", str(store), "2", "2").exit_code == 0
    assert said("diff", str(store), "2", "3")["only_second"] == ["only3"]


def test_prune_keeps_what_its_options_say(store: Path) -> None:
    before = tree(store)
    options = ["--keep-latest", "1", "--keep-best", "loss:max:1"]
    dry = said("prune", str(store), *options, "--dry-run")
    assert tree(store) == before
    wet = run("prune", str(store), *options)

    assert (dry["given_up"], dry["dry_run"]) == ([GROUPS[1]], True)
    assert wet.exit_code == 0
    assert wet.stdout.startswith(f"went: {GROUPS[1]}")
    assert names_in(store) == [GROUPS[0], GROUPS[2], "lock"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing says what to keep"),
        (["--keep-best", "loss"], "expected METRIC:min:N"),
        (["--keep-best", "loss:most:1"], "expected METRIC:min:N"),
        (["--keep-best", "loss:min:0"], "expected METRIC:min:N"),
        (["--keep-latest", "0"], "keep-latest"),
    ],
)
def test_prune_refuses_what_makes_no_sense(store: Path, options: list[str], message: str) -> None:
    before = tree(store)
    done = run("prune", str(store), *options)

    assert (done.exit_code, message in done.stderr) == (2, True)
    assert tree(store) == before


@pytest.mark.parametrize("command", [["prune", "--keep-latest", "1"], ["repair"]])
def test_a_command_makes_no_store_and_waits_for_no_writer(
    store: Path, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "plain").mkdir()
    for place, message in [("plain", "expected a store"), ("none", "found nothing")]:
        done = run(command[0], str(tmp_path / place), *command[1:])
        assert (done.exit_code, message in done.stderr) == (2, True)
    assert names_in(tmp_path) == ["plain", "store"]
    with open_store(tmp_path):
        done = run(command[0], str(store), *command[1:])
        assert (done.exit_code, "this process already has it open" in done.stderr) == (2, True)


def test_repair_sets_all_damage_aside_and_finishes_prunes(store: Path) -> None:
    (store / GROUPS[2] / "MANIFEST").unlink()
    (store / GROUPS[0] / "model").write_bytes(b"weight?")
    (store / "pruned-gen-00000000-step-00000000").mkdir()
    (store / "pruned-gen-00000000-step-00000000" / "model").touch()
    (store / "attempt-gen-00000004-step-00000004").mkdir()
    before = tree(store)
    dry = said("repair", str(store), "--dry-run")
    assert tree(store) == before
    done = said("repair", str(store))

    reasons = {each["name"]: each["reason"] for each in done["moved"]}
    assert reasons == {
        GROUPS[2]: "no_commit",
        GROUPS[0]: "sha_mismatch:model",
    }
    assert {each["name"] for each in dry["moved"]} == set(reasons)
    for answer in (dry, done):
        (attempt,) = answer["discarded"]
        assert attempt["name"] == "attempt-gen-00000004-step-00000004"
    assert done["newest"] == GROUPS[1]
    assert names_in(store) == [GROUPS[1], "lock", "quarantine"]
    assert names_aside(store) == sorted(reasons)


def test_quarantine_says_why_each_thing_is_there(store: Path) -> None:
    (store / GROUPS[2] / "model").write_bytes(b"weight?")
    run("repair", str(store))
    (store / "quarantine" / GROUPS[2]).rename(store / "quarantine" / f"{GROUPS[2]}.1")
    (store / "quarantine" / "mine").mkdir()
    rows = said("quarantine", str(store))["groups"]

    assert [(row["name"], row["verdict"]) for row in rows] == [
        (f"{GROUPS[2]}.1", "sha_mismatch:model")
    ]
    assert rows[0]["path"] == str(store / "quarantine" / f"{GROUPS[2]}.1")


def test_where_nothing_valid_is_left_repair_has_the_status_1(store: Path) -> None:
    for name in GROUPS:
        (store / name / "model").unlink()
    done = run("repair", str(store))

    assert done.exit_code == 1
    assert "no valid group is left" in done.stdout
    assert names_aside(store) == GROUPS


def test_doctor_looks_and_changes_nothing(store: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    found = said("doctor", str(store))
    elsewhere = said("doctor", str(tmp_path / "not" / "yet"))

    counts = {"groups": 3, "attempts": 0, "half_pruned": 0, "quarantined": 0}
    more = {"written_by_a_newer_version": 0, "quarantined_bytes": 0, "strangers_bytes": 0}
    assert found["store"] == {**counts, **more}
    assert set(found["probes"].values()) == {"not tried"}
    assert (elsewhere["store"], elsewhere["file_system"]) == ({}, found["file_system"])
    assert tree(tmp_path) == before


def test_doctor_tries_things_out_and_cleans_up(store: Path) -> None:
    before = tree(store)
    diagnosis = diagnose(WatchedDisk(store), str(store), probe=True)

    assert [probe.answer.split(":")[0] for probe in diagnosis.probes] == [
        "works",
        "works",
        "works",
        "not needed",
        "works",
    ]
    assert diagnosis.is_strong
    assert tree(store) == before


def test_doctor_names_the_weakness_that_a_probe_has_brought_out(store: Path) -> None:
    looked = diagnose(WeakOnceSynced(), str(store), probe=False)
    tried = diagnose(WeakOnceSynced(), str(store), probe=True)

    assert (looked.weaknesses, looked.is_strong) == ((), True)
    assert looked.as_json()["survives"] == "power"
    (weakness,) = tried.weaknesses
    assert (weakness.startswith("it commits fast. "), tried.is_strong) == (True, False)
    assert tried.as_json()["survives"] == "process"


@pytest.mark.parametrize("theirs", ["link", "folder"])
def test_doctor_removes_nothing_that_it_did_not_make(
    store: Path, tmp_path: Path, theirs: str
) -> None:
    """Not through a link, nor in a folder of somebody else's, whatever the names are."""
    others = tmp_path / "others"
    others.mkdir()
    for name in ("MANIFEST", "file", "group", "attempt"):
        (others / name).write_bytes(b"precious")
    for name in (".lastgood-doctor", f"{lastgood.cli.doctor.PROBE}drawn"):
        if theirs == "link":
            (store / name).symlink_to(others)
        else:
            shutil.copytree(others, store / name)
    before = tree(tmp_path)
    drawn = diagnose(PosixDisk(EXT4), str(store), probe=True, new_id=lambda: "drawn")
    fresh = diagnose(PosixDisk(EXT4), str(store), probe=True)

    assert drawn.probes[0].answer.startswith("refused: EEXIST")
    assert {probe.answer for probe in drawn.probes[1:]} == {"not tried"}
    assert fresh.is_strong
    assert tree(tmp_path) == before


def test_doctor_says_what_it_could_not_remove(store: Path) -> None:
    disk = WatchedDisk(store, failing("unlink", "file", errno.EPERM))
    diagnosis = diagnose(disk, str(store), probe=True, new_id=lambda: "drawn")

    assert diagnosis.probes[-1].answer.startswith("refused: EPERM")
    assert not diagnosis.is_strong
    assert names_in(store / f"{lastgood.cli.doctor.PROBE}drawn") == ["file", "group"]


def test_doctor_refuses_what_no_store_can_be_in(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for place in ("file", "file/below", "file/below/that"):
        for options in ([], ["--probe"]):
            done = run("doctor", str(tmp_path / place), *options)
            assert done.exit_code == 2
            assert "found a regular file, expected a directory" in done.stderr
            assert len(done.stderr.splitlines()) == 1
            assert done.stdout == ""
    assert names_in(tmp_path) == ["file"]


def test_doctor_says_what_a_store_would_say(tmp_path: Path) -> None:
    """Where a directory cannot be synced, its mode is that of the store's receipt."""
    disk = WatchedDisk(tmp_path)
    disk._given = WEAK
    disk.fault = lambda call, _path: errno.EINVAL if call == "fsync_dir" else None
    said_by_doctor = diagnose(disk, str(tmp_path / "store"), probe=False).as_json()
    with pytest.warns(lastgood.LastgoodWarning):
        store = Store(tmp_path / "store", disk=disk)
    with store:
        receipt = store.save(1, PARTS)

    assert said_by_doctor["mode"] == receipt.mode == "atomic_nodirsync"
    assert said_by_doctor["survives"] == receipt.guarantee.survives == "process"
    assert said_by_doctor["weaknesses"] == list(store.strength.weaknesses)


def test_doctor_says_where_nothing_can_be_written(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = PosixDisk(EXT4)
    monkeypatch.setattr(disk, "may_write", lambda path: path != str(store))
    diagnosis = diagnose(disk, str(store), probe=False)

    assert not diagnosis.is_strong
    assert "this user may not write" in diagnosis.weaknesses[0]
    assert diagnose(disk, str(store.parent / "new"), probe=False).is_strong


@pytest.mark.parametrize(
    ("call", "refused"),
    [("rename", "make and rename"), ("fsync", "sync a file"), ("fsync_dir", "sync a dir")],
)
def test_doctor_names_what_is_refused(store: Path, call: str, refused: str) -> None:
    disk = WatchedDisk(store)
    disk.fault = lambda name, _path: 22 if name == call else None
    before = tree(store)
    diagnosis = diagnose(disk, str(store), probe=True)

    answers = {probe.what: probe.answer for probe in diagnosis.probes if probe.is_refused}
    assert list(answers.values()) == ["refused: EINVAL (Invalid argument)"]
    assert next(iter(answers)).startswith(refused)
    assert not diagnosis.is_strong
    assert tree(store) == before


def test_doctor_is_loud_where_little_is_promised(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lastgood.cli.write_commands.disk_here", lambda: PosixDisk(WEAK))
    done = run("doctor", str(store))

    assert done.exit_code == 1
    assert "a program stands between" in done.stderr
    assert names_in(store) == [*GROUPS, "lock"]


def test_bench_measures_both_and_leaves_nothing(store: Path) -> None:
    before = tree(store)
    figures = said("bench", str(store), "--mib", "1", "--parts", "3", "--runs", "2")

    assert len(figures["plain_s"]) == len(figures["save_s"]) == len(figures["load_s"]) == 2
    assert figures["size_bytes"] == 3 * ((1 << 20) // 3)
    assert figures["ratio"] > 0
    assert tree(store) == before
    text = run("bench", str(store), "--mib", "1", "--runs", "1")
    assert text.stdout.splitlines()[-1].startswith("save / plain")


def test_a_disk_that_fails_is_no_damage_for_any_reader(store: Path) -> None:
    disk = WatchedDisk(store, failing("names", "."))
    with pytest.raises(lastgood.StorageError, match="no sign of damage"):
        diagnose(disk, str(store), probe=False)
