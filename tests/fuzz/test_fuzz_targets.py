"""The fuzzer's targets, run once on every seed and on every input that ever broke a promise.

And the other half: each oracle notices what it is there for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.errors import StorageError
from lastgood.format.manifest import ManifestError, decode
from tests import ROOT
from tests.fuzz import stores, values
from tests.fuzz.seeds import seeds
from tests.fuzz.tape import NAMES, Tape, spelled_blob, spelled_number, spelled_path
from tests.fuzz.targets import TARGETS
from tests.fuzz.trees import Sandbox, program_of, sealed, unsealed
from tests.fuzz.watching import CALLS, Watch, WatchingDisk, photograph, watched
from tests.impl.disks import PARTS, open_store, tree


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_seed_and_every_kept_input_keeps_the_promises(target: str) -> None:
    count = 0
    for data in seeds(target):
        TARGETS[target](data)
        count += 1
    assert count


def test_make_fuzz_runs_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (named,) = re.findall(r"^FUZZ_TARGETS \?= (.*)$", makefile, re.MULTILINE)

    assert sorted(named.split()) == sorted(TARGETS)


def test_a_tape_reads_what_was_spelled() -> None:
    paths = [(b"MANIFEST",), (b"gen-00000001-step-00000001", b"x"), (b"o", b"\xff", NAMES[3])]
    tape = Tape(b"".join(map(spelled_path, paths)) + spelled_number(300) + spelled_blob(b"abc"))

    assert [tape.path() for _ in paths] == paths
    assert (tape.number(), tape.blob(), tape.is_at_end) == (300, b"abc", True)
    assert (tape.byte(), tape.blob(), tape.path()) == (0, b"", (b"MANIFEST",))


def test_the_program_of_a_store_makes_that_store(tmp_path: Path) -> None:
    with open_store(tmp_path / "one", workers=1) as store:
        store.save(1, PARTS, {"loss": 1.5})
    box = Sandbox(tmp_path / "two")
    box.build(Tape(program_of(tmp_path / "one" / "store")))

    assert tree(box.store) == tree(tmp_path / "one" / "store")
    manifest = (box.store / "gen-00000001-step-00000001" / "MANIFEST").read_bytes()
    assert sealed(unsealed(manifest)) == manifest


def test_no_program_makes_anything_outside_its_store(tmp_path: Path) -> None:
    """A symlink to the outside, then a file below it."""
    box = Sandbox(tmp_path)
    before = photograph(box.outside)
    way = (b"way",)
    box.build(Tape(bytes([3]) + spelled_path(way) + b"\0"))
    assert os.path.samefile(box.store / "way", box.outside)
    box.build(Tape(bytes([1]) + spelled_path((*way, b"model")) + spelled_blob(b"mine")))

    assert photograph(box.outside) == before


def violation(box: Sandbox, work: Callable[[WatchingDisk], object], *, may_change: bool) -> str:
    with pytest.raises(AssertionError) as caught, watched(box, may_change=may_change) as disk:
        work(disk)
    return str(caught.value)


def test_the_watch_notices_whoever_leaves_the_store(tmp_path: Path) -> None:
    box = Sandbox(tmp_path)
    (box.store / "way").symlink_to(box.outside)
    os.mkfifo(box.store / "fifo")
    outside, inside = str(box.outside / "model"), str(box.store / "new")
    through = str(box.store / "way" / "model")

    assert "open outside" in violation(box, lambda _: Path(outside).read_bytes(), may_change=True)
    assert "kind outside" in violation(box, lambda disk: disk.kind(through), may_change=True)
    assert "stamp outside" in violation(box, lambda disk: disk.stamp(outside), may_change=True)
    assert "os.rename outside" in violation(
        box, lambda _: os.rename(outside, inside), may_change=True
    )
    assert "for writing" in violation(
        box, lambda _: Path(inside + "5").write_bytes(b""), may_change=False
    )
    assert "os.mkdir" in violation(box, lambda _: os.mkdir(f"{inside}2"), may_change=False)
    assert "open of no file" in violation(
        box, lambda _: os.close(os.open(box.store / "fifo", os.O_RDWR)), may_change=True
    )
    assert "os.symlink" in violation(box, lambda _: os.symlink("a", f"{inside}3"), may_change=True)
    with watched(box, may_change=True) as disk:
        disk.create(inside + "4")
        disk.close(inside + "4")
        assert disk.kind(str(box.store / "way")) == "other"


def test_the_watch_counts_calls_and_bytes(tmp_path: Path) -> None:
    box = Sandbox(tmp_path)
    watch = Watch(box, may_change=False)
    disk = WatchingDisk(watch)
    (box.store / "file").write_bytes(b"abc")
    assert disk.read(str(box.store / "file"), 9) == b"abc"
    assert disk.digest_with(str(box.store / "file"), 9, "sha256")[0] == 3
    with disk.open_file(str(box.store / "file"), 9) as file:
        assert file.read_into(1, memoryview(bytearray(9))) == 2
    assert (watch.calls, watch.bytes) == (4, 8)
    watch.check()
    watch.calls = CALLS + 1
    with pytest.raises(AssertionError, match="calls"):
        watch.check()


def test_a_range_that_is_handed_out_unverified_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ranges_read() -> None:
        for data in seeds("store-tree"):
            stores.store_tree(bytes([0, 9]) + data[2:])  # a load, and 2 bytes from the tenth on

    ranges_read()
    monkeypatch.setattr("lastgood.recovery.partial_load.check_digests", lambda _unit, _found: None)

    with pytest.raises(AssertionError):
        ranges_read()


def test_a_changed_tree_and_a_lost_file_are_noticed(tmp_path: Path) -> None:
    with open_store(tmp_path, workers=1) as store:
        store.save(1, PARTS)
    root = tmp_path / "store"
    before, contents = photograph(root), stores.contents(root)
    model = root / "gen-00000001-step-00000001" / "model"
    model.rename(model.with_name("other"))
    assert photograph(root) != before
    stores.nothing_lost(contents, stores.contents(root), set())
    model.with_name("other").unlink()

    with pytest.raises(AssertionError):
        stores.nothing_lost(contents, stores.contents(root), set())
    stores.nothing_lost(contents, stores.contents(root), {b"gen-00000001-step-00000001"})


def test_an_exception_that_nobody_documented_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raising(error: Exception) -> Callable[..., None]:
        def fail(*_: object, **__: object) -> None:
            raise error

        return fail

    data = b"\0"  # a load of an empty tree
    for error in (KeyError("x"), ManifestError("x", "y"), OSError(5, "x")):
        monkeypatch.setattr("lastgood.store_reader.newest_valid_now", raising(error))
        with pytest.raises(type(error)):
            TARGETS["store-tree"](data)
    monkeypatch.setattr("lastgood.store_reader.newest_valid_now", raising(StorageError("x")))
    TARGETS["store-tree"](data)
    monkeypatch.setattr(values, "decode", raising(ValueError("x")))
    with pytest.raises(ValueError, match="x"):
        TARGETS["manifest-bytes"](b"")
    with pytest.raises(ManifestError):
        decode(b"")


@pytest.mark.parametrize(
    ("target", "broken", "says"),
    [
        ("store-tree", "lastgood.recovery.recovery.require_judged", "fell back past"),
        ("store-writer", "lastgood.recovery.recovery.require_judged", "fell back past"),
        ("store-writer", "lastgood.recovery.quarantine.is_unjudged", "was touched"),
        ("store-mixed", "lastgood.recovery.recovery.require_judged", "not what is owed"),
        ("store-mixed", "lastgood.recovery.quarantine.is_unjudged", "touched"),
        ("store-mixed", "lastgood.recovery.clearing.stays", "touched"),
        ("manifest-newer", "lastgood.format.manifest.require_known_format", "unknown"),
        ("manifest-newer", "lastgood.format.manifest.require_known_features", "unknown"),
    ],
)
def test_who_judges_what_a_newer_version_has_written_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, target: str, broken: str, says: str
) -> None:
    def all_seeds() -> None:
        for data in seeds(target):
            TARGETS[target](data)

    monkeypatch.setattr(broken, lambda *_: None)

    with pytest.raises(AssertionError, match=says):
        all_seeds()


@pytest.mark.parametrize(
    ("name", "broken", "says"),
    [
        ("recovery.quarantine.MISSING_ERRNOS", frozenset(), "ENOENT"),
        ("recovery.quarantine.NOT_REGULAR_ERRNOS", frozenset(), "ELOOP|EINVAL"),
        ("store_reader.read_report", lambda *_: "none", "left out"),
        ("recovery.quarantine.free_name", lambda name, _taken: name, "was set aside"),
        ("recovery.quarantine_report._is_text", lambda _value: True, "printable"),
    ],
)
def test_a_report_that_decides_or_is_believed_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: object, says: str
) -> None:
    def all_seeds() -> None:
        for data in seeds("store-reports"):
            TARGETS["store-reports"](data)

    monkeypatch.setattr(f"lastgood.{name}", broken)

    with pytest.raises((AssertionError, StorageError), match=says):
        all_seeds()


def tree_through_links(_disk: object, top: str) -> tuple[list[str], list[str]]:
    """All below a directory, and what links lead to."""
    files, folders = list[str](), list[str]()
    for home, inside, names in os.walk(top, followlinks=True):
        folders += [os.path.relpath(os.path.join(home, name), top) for name in inside]
        files += [os.path.relpath(os.path.join(home, name), top) for name in names]
    return files, folders


@pytest.mark.parametrize(
    ("target", "name", "broken", "says"),
    [
        ("store-reports", "recovery.quarantine_usage._is_asked", lambda *_: True, "another thing"),
        ("store-mixed", "recovery.quarantine_usage._is_asked", lambda *_: True, "another thing"),
        ("store-reports", "recovery.quarantine_usage.read_report", lambda *_: "", "another thing"),
        ("store-reports", "writer.clearer.report_name", lambda home: f"{home}.x", "left what it"),
        ("store-mixed", "writer.clearer.report_name", lambda home: f"{home}.x", "left what it"),
        ("store-reports", "writer.clearer.list_tree", tree_through_links, "not what was"),
        ("store-reports", "recovery.clearing._uncommitted_aside", lambda *_: [], "older one"),
        ("store-mixed", "recovery.clearing._uncommitted_aside", lambda *_: [], "older one"),
        ("store-reports", "recovery.clearing.lacks_manifest", lambda *_: True, "touched in"),
        ("store-mixed", "recovery.clearing._fate", lambda *all_of: all_of[-1], "beside its group"),
        ("store-reports", "writer.lease.list_aside", lambda *_: (), "was given"),
    ],
)
def test_who_deletes_another_thing_from_quarantine_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, target: str, name: str, broken: object, says: str
) -> None:
    def seeds_of_writers() -> None:
        for data in seeds(target):
            if target == "store-mixed" or data[0] % 4 in (0, 3):
                TARGETS[target](data)

    monkeypatch.setattr(f"lastgood.{name}", broken)

    with pytest.raises(AssertionError, match=says):
        seeds_of_writers()
