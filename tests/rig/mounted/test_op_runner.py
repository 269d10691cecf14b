from __future__ import annotations

import os
from pathlib import Path

import pytest

from powercut.filesystem import ops
from powercut.filesystem.content import Fill
from powercut_rig import RigError, Tag, WriteBack, default_plan, read_tree
from powercut_rig.mounted.op_runner import LocalOpRunner, ProgramRunner


def run(root: Path, program: list[ops.Op], plan: list[WriteBack] | None = None) -> list[object]:
    marks: list[object] = []
    workload = ProgramRunner(LocalOpRunner(str(root), os.utime), lambda *mark: marks.append(mark))
    try:
        workload.run(program, plan or [])
    finally:
        workload.close()
    return marks


def test_each_op_does_on_a_real_file_system_what_it_says(tmp_path: Path) -> None:
    run(
        tmp_path,
        [
            ops.Mkdir("/d"),
            ops.Create("/d/f"),
            ops.Write("/d/f", 2, b"abc"),
            ops.Link("/d/f", "/g"),
            ops.Truncate("/g", 4),
            ops.Fsync("/d/f"),
            ops.Fdatasync("/d"),
            ops.Rename("/d/f", "/d/h"),
            ops.Mkdir("/e"),
            ops.Rmdir("/e"),
            ops.Create("/x"),
            ops.Unlink("/x"),
            ops.Create("/big"),
            ops.Write("/big", 1, Fill(7, 3_000_000)),
        ],
    )
    assert read_tree(str(tmp_path)) == {
        "big": b"\0" + b"\7" * 3_000_000,
        "d": None,
        "d/h": b"\0\0ab",
        "g": b"\0\0ab",
    }


def test_each_op_stands_between_its_two_marks_and_write_back_after_them(tmp_path: Path) -> None:
    marks = run(
        tmp_path,
        [ops.Create("/f"), ops.Write("/f", 0, b"x" * 9000), ops.Mark("acknowledged")],
        [WriteBack(1, "data", "/f", 0, 4096)],
    )
    assert marks == [
        ("create", 0, "begin"),
        ("create", 0, "end"),
        ("write", 1, "begin"),
        ("write", 1, "end"),
        ("writeback data /f", 1, "note"),
        ("acknowledged", 2, "begin"),
        ("acknowledged", 2, "end"),
    ]


@pytest.mark.parametrize("path", ["relative", "/a/../../etc", "", "/a\0b"])
def test_a_path_that_leads_out_is_refused_before_the_first_op(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="expected an absolute one"):
        run(tmp_path, [ops.Mkdir("/made"), ops.Create(path)])
    assert list(tmp_path.iterdir()) == []


def test_the_kernel_is_given_each_path_as_it_is_spelt(tmp_path: Path) -> None:
    program: list[ops.Op] = [
        ops.Mkdir("/d/"),
        ops.Create("/d/./f"),
        ops.Mkdir("//e//"),
        ops.Rename("/d/", "/e/"),
        ops.Append("//e//f", b"x"),
        ops.Symlink("e/", "/s"),
        ops.Fsync("/s/"),
        ops.Rmdir("/e/../g/"),
    ]
    run(tmp_path, program[:-1])
    assert read_tree(str(tmp_path / "e")) == {"f": b"x"}
    assert os.readlink(tmp_path / "s") == "e/"
    with pytest.raises(ValueError, match=r"'/e/\.\./g/' was found; expected an absolute"):
        run(tmp_path, program[-1:])


@pytest.mark.parametrize(
    "op",
    [
        ops.Rename("/f", "/g/"),
        ops.Link("/f/", "/g"),
        ops.Unlink("/f/"),
        ops.Fsync("/f/"),
        ops.Truncate("/f/", 1),
        ops.Open("/f/", "h"),
    ],
    ids=str,
)
def test_slashes_behind_a_name_ask_for_a_directory(tmp_path: Path, op: ops.Op) -> None:
    with pytest.raises(RigError, match=r"Op 1, .*Not a directory"):
        run(tmp_path, [ops.Create("/f"), op])


@pytest.mark.parametrize("op", [ops.Symlink("x", "/g/"), ops.Link("/f", "/g/")], ids=str)
def test_slashes_behind_a_new_name_ask_for_a_directory(tmp_path: Path, op: ops.Op) -> None:
    with pytest.raises(RigError, match=r"Op 1, .*No such file or directory"):
        run(tmp_path, [ops.Create("/f"), op])


@pytest.mark.parametrize("target", ["/etc", "../up", "d/../../up"])
def test_a_link_that_leads_out_is_refused_before_the_first_op(tmp_path: Path, target: str) -> None:
    with pytest.raises(ValueError, match="has to be relative"):
        run(tmp_path, [ops.Mkdir("/made"), ops.Symlink(target, "/s")])
    assert list(tmp_path.iterdir()) == []


def test_an_op_that_the_file_system_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(RigError, match=r"Op 1, Rmdir\(path='/no'\), failed"):
        run(tmp_path, [ops.Mkdir("/d"), ops.Rmdir("/no")])


def test_a_write_back_after_an_op_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="after op 5 was found; there are 1 ops"):
        run(tmp_path, [ops.Mkdir("/d")], [WriteBack(5, "commit")])
    assert list(tmp_path.iterdir()) == []


def test_the_default_plan_follows_a_file_through_renames(tmp_path: Path) -> None:
    program: list[ops.Op] = [
        ops.Mkdir("/d"),
        ops.Create("/d/f"),
        ops.Write("/d/f", 0, b"x" * 10_000),
        ops.Rename("/d", "/e"),
        ops.Create("/e/g"),
        ops.Write("/e/g", 0, b"y" * 10_000),
        ops.Create("/h"),
        ops.Create("/i"),
    ]
    plan = default_plan(program)
    assert any(item.path == "/e/f" for item in plan)
    run(tmp_path, program, list(plan))  # each file it names is there


def test_the_default_plan_follows_a_file_by_any_spelling(tmp_path: Path) -> None:
    program: list[ops.Op] = [
        ops.Mkdir("/d/"),
        ops.Create("//d/f"),
        ops.Write("/d/./f", 0, b"x" * 10_000),
        ops.Rename("/d/", "/e//"),
        ops.Mkdir("/h"),
        ops.Mkdir("/i"),
    ]
    plan = default_plan(program)
    assert any(item.path == "/e/f" for item in plan)
    run(tmp_path, program, list(plan))


def test_handles_links_mappings_and_flags_do_what_they_say(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    run(
        root,
        [
            ops.Open("/f", "h", ("O_CREAT", "O_EXCL")),
            ops.Write("@h", 0, b"abcdef"),
            ops.Append("@h", b"gh"),
            ops.Unlink("/f"),
            ops.Truncate("@h", 4),
            ops.Fsync("@h"),
            ops.Close("h"),
            ops.Tmpfile("/", "n"),
            ops.Write("@n", 0, b"abcd"),
            ops.Link("@n", "/again"),
            ops.Close("n"),
            ops.Mapwrite("/again", 1, b"XY"),
            ops.Msync("/again", 0, 4),
            ops.Symlink("again", "/s"),
            ops.Create("/other"),
            ops.Rename("/again", "/other", ("EXCHANGE",)),
            ops.Write("/other", 3, b"z", ("O_SYNC",)),
            ops.Tmpfile("/", "t"),
            ops.Write("@t", 0, b"never seen"),
            ops.Barrier("/other"),
            ops.Fullsync("/other"),
        ],
        [WriteBack(1, "data", "@h")],
    )
    assert read_tree(str(root)) == {
        "again": b"",
        "other": b"aXYz",
        "s": Tag("symlink", "again"),
    }


def test_a_rename_that_may_not_replace_and_a_sync_that_should_fail_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(RigError, match="File exists"):
        run(tmp_path, [ops.Create("/a"), ops.Create("/b"), ops.Rename("/a", "/b", ("NOREPLACE",))])
    with pytest.raises(RigError, match="cannot be made to fail"):
        run(tmp_path, [ops.Fsync("/a", fails=True)])


def test_no_disk_goes_bad_on_request(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="failed on the real file system: no disk goes bad"):
        run(tmp_path, [ops.Create("/a"), ops.Damage("/a", "changed")])
