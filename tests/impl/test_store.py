"""What a user of the store is promised while nothing goes wrong, or the user does."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

import lastgood
from lastgood import (
    IntegrityError,
    LastgoodWarning,
    LatestN,
    LeaseError,
    Receipt,
    Store,
    UsageError,
)
from lastgood.backends.interface import FileSystemTraits
from lastgood.backends.posix import PosixDisk
from lastgood.protocol.plan import FORMS, MODES, Form, Mode
from tests.impl.disks import EXT4, PARTS, Unsynced, nested, open_store, tree

TMPFS = FileSystemTraits("tmpfs", "/", True, "process", "it lives in memory")
UNFLUSHED = FileSystemTraits("anyfs", "/", True, "kernel", "fsync does not flush the drive")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_what_is_saved_is_loaded(tmp_path: Path, form: Form, mode: Mode) -> None:
    with open_store(tmp_path, form=form, mode=mode) as store:
        assert store.load_latest() is None
        receipt = store.save(42, PARTS, {"accuracy": 0.5})
        loaded = store.load_latest()

    assert loaded is not None
    assert (loaded.generation, loaded.step, loaded.metadata) == (1, 42, {"accuracy": 0.5})
    assert {part: loaded.read(part) for part in loaded.parts} == PARTS
    assert loaded.path("optim/adam").read_bytes() == b"moments"
    assert loaded.rejected == ()
    assert receipt.path == str(loaded.group.path)


def test_a_part_may_be_bytes_chunks_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    chunks = (bytes([n]) for n in range(3))
    parts: dict[str, Any] = {
        "bytes": b"b",
        "view": memoryview(b"abcd").cast("H"),
        "array": bytearray(b"a"),
        "chunks": chunks,
        "empty": b"",
        "file": tmp_path / "file",
    }
    with open_store(tmp_path) as store:
        store.save(1, parts)
        loaded = store.load_latest()

    assert loaded is not None
    assert [loaded.read(part) for part in parts] == [
        b"b",
        b"abcd",
        b"a",
        b"\0\1\2",
        b"",
        b"from a file",
    ]
    origins = {part.path: part.digest_from for part in loaded.group.manifest.parts}
    assert [name for name, origin in origins.items() if origin == "file"] == ["file"]


def test_the_newest_generation_wins_although_its_step_is_lower(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save(900, {"model": b"old"})
        store.save(100, {"model": b"new"})
        loaded = store.load_latest()

    assert loaded is not None
    assert (loaded.generation, loaded.step, loaded.read("model")) == (2, 100, b"new")


def test_a_step_that_is_asked_for_is_never_replaced(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for step, content in [(1, b"a"), (2, b"b"), (2, b"c")]:
            store.save(step, {"model": content})
        assert store.load(step=2).read("model") == b"c"
        assert store.load(generation=2).read("model") == b"b"
        assert store.load(step=1).read("model") == b"a"
        (store.path / "gen-00000003-step-00000002" / "model").write_bytes(b"x")
        before = tree(tmp_path)

        with pytest.raises(IntegrityError, match=r"sha_mismatch:model") as caught:
            store.load(step=2)
        assert (caught.value.reason, caught.value.group) == (
            "sha_mismatch:model",
            "gen-00000003-step-00000002",
        )
        with pytest.raises(UsageError, match="no group of step 7"):
            store.load(step=7)
        with pytest.raises(UsageError, match="either"):
            store.load(2, generation=2)
        assert tree(tmp_path) == before


def test_debris_of_a_step_does_not_hide_its_acknowledged_group(tmp_path: Path) -> None:
    with open_store(tmp_path, form="record") as store:
        store.save(5, {"model": b"good"})
        (store.path / "gen-00000002-step-00000005").mkdir()
        (store.path / "gen-00000003-step-00000006").mkdir()

        assert store.load(step=5).read("model") == b"good"
        with pytest.raises(IntegrityError, match="no_commit"):
            store.load(6)
        with pytest.raises(IntegrityError, match="no_commit"):
            store.load(generation=2)


def test_metadata_at_the_limits_is_kept_as_it_was_when_save_began(tmp_path: Path) -> None:
    metadata = {**nested(64), "big": 2**63 - 1, "small": -(2**63)}
    wanted = copy.deepcopy(metadata)

    def meddling() -> Any:
        metadata["big"] = object()
        yield b"weights"

    with open_store(tmp_path) as store:
        store.save(1, {"model": meddling()}, metadata)
        loaded = store.load_latest()

    assert loaded is not None
    assert loaded.metadata == wanted


@pytest.mark.parametrize("replace", [True, False])
def test_a_store_whose_lock_file_was_replaced_saves_no_more(tmp_path: Path, replace: bool) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        (store.path / "lock").unlink()
        if replace:
            (store.path / "lock").touch()
        before = tree(tmp_path)
        for call in (lambda: store.save(2, PARTS), store.load_latest):
            with pytest.raises(LeaseError, match="removed or replaced"):
                call()
        assert tree(tmp_path) == before
        assert store.load(step=1).read("model") == b"weights"
    with open_store(tmp_path) as again:
        assert again.save(2, PARTS).generation == 2


def test_generations_are_not_used_again_by_the_next_process(tmp_path: Path) -> None:
    for wanted in (1, 2, 3):
        with open_store(tmp_path) as store:
            assert store.save(5, PARTS).generation == wanted


def test_a_part_that_changed_after_the_load_is_not_handed_out(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        loaded = store.load_latest()
        assert loaded is not None
        loaded.path("model").write_bytes(b"weight?")

        with pytest.raises(IntegrityError, match="sha_mismatch:model"):
            loaded.read("model")
        loaded.path("model").unlink()
        with pytest.raises(IntegrityError, match="missing:model"):
            loaded.read("model")
        with pytest.raises(UsageError, match="no part 'other'"):
            loaded.read("other")


@pytest.mark.parametrize("form", FORMS)
def test_a_source_that_fails_takes_its_attempt_with_it(tmp_path: Path, form: Form) -> None:
    def broken() -> Any:
        yield b"first"
        raise OSError(5, "the network share is gone")

    with open_store(tmp_path, form=form) as store:
        store.save(1, PARTS)
        before = tree(tmp_path)
        with pytest.raises(UsageError, match="network share"):
            store.save(2, {"sub/good": b"x", "sub/bad": broken()})

        assert tree(tmp_path) == before
        assert store.save(3, PARTS).generation == 3


def test_ctrl_c_in_a_save_takes_its_attempt_with_it(tmp_path: Path) -> None:
    def interrupted() -> Any:
        yield b"first"
        raise KeyboardInterrupt

    with open_store(tmp_path) as store:
        before = tree(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            store.save(1, {"model": interrupted()})

        assert tree(tmp_path) == before


def test_a_closed_store_loads_and_does_not_save(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
    before = tree(tmp_path)

    with pytest.raises(UsageError, match="not open"):
        store.save(2, PARTS)
    assert tree(tmp_path) == before
    assert store.load(step=1).read("model") == b"weights"
    loaded = store.load_latest()
    assert loaded is not None
    assert loaded.read("model") == b"weights"
    assert tree(tmp_path) == before


def test_a_closed_store_falls_back_and_moves_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        store.save(2, PARTS)
    (store.path / "gen-00000002-step-00000002" / "model").unlink()
    before = tree(tmp_path)
    loaded = store.load_latest()

    assert loaded is not None
    assert loaded.generation == 1
    assert tree(tmp_path) == before


def test_a_second_writer_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """The first one is another live process; a reader is welcome all the while."""
    program = (
        "import sys, lastgood\n"
        f"with lastgood.Store({str(tmp_path / 'store')!r}, mode='unsafe') as store:\n"
        "    store.save(1, {'model': b'theirs'})\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            before = tree(tmp_path)
            with pytest.raises(LeaseError, match="another live process"):
                Store(tmp_path / "store")
            loaded = lastgood.open_read_only(tmp_path / "store").load_latest()
            assert loaded is not None
            assert loaded.read("model") == b"theirs"
            assert tree(tmp_path) == before
        finally:
            child.communicate("", timeout=60)
    assert LeaseError.exit_status == 2
    with open_store(tmp_path) as store:
        assert store.save(2, PARTS).generation == 2


def test_a_store_that_is_dropped_gives_its_lease_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.save(1, PARTS)
    del store
    with open_store(tmp_path) as again:
        assert again.save(2, PARTS).generation == 2


def test_a_store_behind_a_link_is_the_store_itself(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("store")
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        with pytest.raises(LeaseError):
            Store(tmp_path / "link", disk=PosixDisk(EXT4))
    with Store(tmp_path / "link", disk=PosixDisk(EXT4)) as store:
        assert store.path == (tmp_path / "store").resolve()
        assert store.load_latest() is not None


def test_the_receipt_names_what_was_reached(tmp_path: Path) -> None:
    with open_store(tmp_path, form="rename") as store:
        receipt = store.save(42, PARTS)

    assert (receipt.mode, receipt.form, receipt.file_system) == (
        "atomic_dirsync",
        "rename",
        "ext4",
    )
    assert receipt.size_bytes == len(b"weights") + len(b"moments")
    assert receipt.guarantee.survives == "power"
    assert receipt.guarantee.power == "kept, if the drive honours cache flushes"
    # The clock ticks once for each step: 2 mkdirs and 3 files of create, write, fsync, close.
    assert receipt.phases == {
        "write_s": 2.0 + 3 * 3,
        "sync_files_s": 3.0,
        "sync_dirs_s": 3.0,
        "rename_s": 1.0,
    }
    assert receipt.notes == ()


@pytest.mark.parametrize(
    ("mode", "file_system", "survives"),
    [
        ("unsafe", EXT4, "process"),
        ("atomic_nodirsync", EXT4, "process"),
        ("atomic_dirsync", EXT4, "power"),
        ("atomic_dirsync", UNFLUSHED, "kernel"),
        ("atomic_dirsync", TMPFS, "process"),
    ],
)
def test_no_more_is_promised_than_mode_and_file_system_give(
    tmp_path: Path, mode: Mode, file_system: FileSystemTraits, survives: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LastgoodWarning)
        store = Store(tmp_path / "store", mode=mode, disk=PosixDisk(file_system))
    with store:
        promise = store.save(1, PARTS).guarantee

    words = {"process": promise.process, "kernel": promise.kernel, "power": promise.power}
    kept = [name for name, text in words.items() if text.startswith("kept")]
    assert promise.survives == survives
    assert (
        kept == ["process", "kernel", "power"][: ["process", "kernel", "power"].index(survives) + 1]
    )
    assert all(text.startswith(("kept", "not promised: ")) for text in words.values())


def test_a_memory_file_system_downgrades_loudly(tmp_path: Path) -> None:
    with pytest.warns(LastgoodWarning, match="crash of the program only"):
        Store(tmp_path / "store", disk=PosixDisk(TMPFS)).close()


@pytest.mark.parametrize(("atomic", "form"), [(True, "rename"), (False, "record")])
def test_the_form_follows_from_what_rename_is(tmp_path: Path, atomic: bool, form: str) -> None:
    here = FileSystemTraits("fs", "/", atomic, "power", "")
    with Store(tmp_path / "store", disk=PosixDisk(here)) as store:
        assert store.save(1, PARTS).form == form


def test_groups_are_listed_without_reading_their_parts(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for step in (1, 2, 3):
            store.save(step, PARTS)
        (store.path / "gen-00000001-step-00000001" / "model").unlink()
        (store.path / "gen-00000002-step-00000002" / "MANIFEST").unlink()

        assert [group.name.generation for group in store.groups()] == [3, 1]
        assert [getattr(each, "reason", "valid") for each in store.verify()] == [
            "valid",
            "no_commit",
            "missing:model",
        ]


@pytest.mark.parametrize("place", ["", "quarantine"])
@pytest.mark.parametrize("prefix", ["", "attempt-", "pruned-"])
def test_a_stray_directory_of_the_last_generation_blocks_nothing(
    tmp_path: Path, place: str, prefix: str
) -> None:
    stray = f"{prefix}gen-{10**18 - 1}-step-00000001"
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
    (tmp_path / "store" / place / stray).mkdir(parents=True)
    with open_store(tmp_path, keep=LatestN(1)) as store:
        assert store.save(2, PARTS).generation == 2
        loaded = store.load_latest()
        assert loaded is not None
        assert (loaded.step, loaded.rejected) == (2, ())
        assert store.all_steps() == [2]
    assert (tmp_path / "store" / place / stray).is_dir()


def test_a_receipt_has_the_seconds_that_the_caller_waited(tmp_path: Path) -> None:
    """The phases are summed over threads, so they cannot say it."""
    both = threading.Barrier(2, timeout=60)
    content = os.urandom(9 << 20)  # big enough for a thread of its own
    now_s = 100.0

    class Slow(Unsynced):
        def _sync(self, fd: int) -> None:
            nonlocal now_s
            if os.fstat(fd).st_size == len(content):
                if both.wait() == 0:  # both are in their sync: time passes for both of them
                    now_s += 5
                both.wait()

    with Store(tmp_path / "store", disk=Slow(tmp_path), workers=4, clock=lambda: now_s) as store:
        receipt = store.save(1, {"a": content, "b": content})
        with store.attempt(2) as attempt:
            now_s += 7  # the caller's own time, before the save
            (attempt.path / "a").write_bytes(b"weights")

    assert (receipt.wall_s, receipt.phases["sync_files_s"]) == (5, 10)
    assert attempt.receipt is not None
    assert attempt.receipt.wall_s == 0
    assert "all threads together" in str(Receipt.__doc__)
