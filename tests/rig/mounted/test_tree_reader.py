from __future__ import annotations

import os
from pathlib import Path

import pytest

from powercut_rig import RigError, Tag, TreeLimits, read_tree
from powercut_rig.mounted.tree_reader import TreeSnapshot, read_snapshot


def test_files_directories_and_specials_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(b"data")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert read_tree(str(tmp_path)) == {
        "a": None,
        "a/f": b"data",
        "empty": None,
        "link": Tag("symlink", "/etc/passwd"),
        "pipe": Tag("fifo"),
    }


def test_lost_found_is_left_out_at_the_root_only(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "d" / "lost+found").mkdir(parents=True)
    assert read_tree(str(tmp_path)) == {"d": None, "d/lost+found": None}


def test_a_link_to_a_directory_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to("..", target_is_directory=True)
    assert read_tree(str(tmp_path)) == {"up": Tag("symlink", "..")}


def test_a_tree_larger_than_its_limits_is_refused(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(b"12345")
    with pytest.raises(RigError, match="too many entries"):
        read_tree(str(tmp_path), TreeLimits(entries=2))
    with pytest.raises(RigError, match="c has 5 B; only 4 B more"):
        read_tree(str(tmp_path), TreeLimits(total_bytes=14))


def test_a_sparse_giant_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "giant").open("wb") as giant:
        giant.truncate(1 << 40)
    with pytest.raises(RigError, match="giant has"):
        read_tree(str(tmp_path))


def test_a_tree_deeper_than_its_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert read_tree(str(tmp_path), TreeLimits(depth=3)) == {"a": None, "a/b": None, "a/b/c": None}
    with pytest.raises(RigError, match="deeper than 2"):
        read_tree(str(tmp_path), TreeLimits(depth=2))


def test_names_of_one_file_are_told_as_one_group(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "d" / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "alone").write_bytes(b"x")
    seen = read_snapshot(str(tmp_path))
    assert seen.links == (("a", "d/b"),)
    assert seen.plain == {"a": b"x", "alone": b"x", "d": None, "d/b": b"x"}
    assert seen.digest != TreeSnapshot(seen.tree).digest
