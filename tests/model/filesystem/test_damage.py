"""Damage at rest: no crash undoes it, whoever looks meets it, and it takes no other inode along."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import no_cuts
from powercut.errors import ConcurrencyError
from powercut.filesystem import ops
from powercut.filesystem.inodes import visible_tree
from powercut.filesystem.state import State, run_program
from powercut.profile import load_profile
from powercut.simulation.model_disk import ModelDisk

PROGRAM: list[ops.Op] = [
    ops.Mkdir("/d"),
    ops.Create("/d/a"),
    ops.Write("/d/a", 0, b"0123456789"),
    ops.Create("/d/b"),
    ops.Create("/c"),
    ops.Write("/c", 0, b"other"),
]
LIMIT = 100


def after(*more: ops.Op) -> State:
    return run_program([(str(number), op) for number, op in enumerate([*PROGRAM, *more])])


def error_of(look: Callable[[], object]) -> str:
    with pytest.raises(OSError, match=r"E[A-Z]+") as caught:
        look()
    return errno.errorcode[caught.value.errno or 0]


@pytest.mark.parametrize(
    ("damage", "content"),
    [
        (ops.Damage("/d/a", "changed"), b"01234\xca6789"),
        (ops.Damage("/d/a", "changed", 0), b"\xcf123456789"),
        (ops.Damage("/d/a", "truncated"), b"01234"),
        (ops.Damage("/d/a", "truncated", 9), b"012345678"),
    ],
    ids=str,
)
def test_a_changed_byte_and_a_cut_are_what_is_read(damage: ops.Damage, content: bytes) -> None:
    disk = ModelDisk(after(damage))

    assert disk.read("/d/a", LIMIT) == content
    assert disk.read("/c", LIMIT) == b"other"


def test_an_unreadable_file_can_be_named_moved_and_removed_and_neither_read_nor_written() -> None:
    disk = ModelDisk(after(ops.Damage("/d/a", "unreadable")))
    disk.rename("/d", "/e")

    assert disk.kind("/e/a") == "file"
    assert disk.names("/e") == ["a", "b"]
    for look in (
        lambda: disk.read("/e/a", LIMIT),
        lambda: disk.digest("/e/a", LIMIT),
        lambda: disk.perform(ops.Append("/e/a", b"more")),
        lambda: disk.perform(ops.Truncate("/e/a", 0)),
    ):
        assert error_of(look) == "EIO"
    disk.unlink("/e/a")
    assert disk.kind("/e/a") == "missing"


def test_an_unreadable_directory_hides_all_below_it_and_can_be_moved_as_a_whole() -> None:
    disk = ModelDisk(after(ops.Damage("/d", "unreadable")))
    disk.rename("/d", "/e")

    assert disk.kind("/e") == "dir"
    for look in (
        lambda: disk.names("/e"),
        lambda: disk.kind("/e/a"),
        lambda: disk.read("/e/a", LIMIT),
        lambda: disk.create("/e/new"),
        lambda: disk.rmdir("/e"),
    ):
        assert error_of(look) == "EIO"


@pytest.mark.parametrize("how", ops.HARMS)
@pytest.mark.parametrize("crash_class", ["kernel", "power"])
@pytest.mark.parametrize("profile", ["posix-minimal", "ext4-ordered"])
def test_no_crash_takes_damage_back_nor_what_was_there_before(
    how: str, crash_class: str, profile: str
) -> None:
    damaged = after(ops.Damage("/d/a", how))
    later = damaged.perform(ops.Create("/new"), "new").killed()
    space = CrashSpace.of(later, load_profile(profile), crash_class, no_cuts)
    looks = {visible_tree(state.base) for _, _, state in space.states()}

    assert looks == {visible_tree(damaged.view), visible_tree(later.view)}
    assert visible_tree(damaged.view) != visible_tree(after().view)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (ops.Damage("/none", "changed"), "ENOENT"),
        (ops.Damage("/d", "truncated"), "EISDIR"),
        (ops.Damage("/d/b", "changed"), "EINVAL"),  # an empty file
        (ops.Damage("/d/b", "truncated"), "EINVAL"),
        (ops.Damage("/d/a", "truncated", 10), "EINVAL"),
        (ops.Damage("/d/a", "changed", -1), "EINVAL"),
        (ops.Damage("/d/a", "lost"), "EINVAL"),
    ],
    ids=str,
)
def test_damage_that_nobody_could_find_is_refused(damage: ops.Damage, error: str) -> None:
    assert error_of(lambda: after(damage)) == error


def test_damage_is_of_no_thread() -> None:
    with pytest.raises(ConcurrencyError, match="damage at rest is of no thread"):
        after().perform(ops.Damage("/c", "changed"), "bad", "t")


def test_an_open_file_stays_open_when_another_goes_bad() -> None:
    state = after(ops.Open("/c", "h"), ops.Damage("/d/a", "changed"), ops.Append("@h", b"!"))

    assert ModelDisk(state).read("/c", LIMIT) == b"other!"


def test_a_stamp_changes_with_every_op_and_with_no_damage_but_a_cut() -> None:
    disk = ModelDisk(State())
    disk.create("/a")
    disk.write("/a", b"0123")
    first = disk.stamp("/a")
    disk.create("/b")
    assert disk.stamp("/a") == first

    disk.damage(ops.Damage("/a", "changed"), "bad")
    disk.damage(ops.Damage("/a", "unreadable"), "worse")
    assert disk.stamp("/a") == first

    disk.damage(ops.Damage("/a", "truncated"), "short")
    assert disk.stamp("/a") != first
    assert disk.stamp("/b") != first
    disk.write("/b", b"x")
    second = disk.stamp("/b")
    disk.perform(ops.Write("/b", 0, b"y"))
    assert disk.stamp("/b") != second
