"""The devices under a file system: what they take away from its promise.

All of it is read from /sys and /proc, which anybody may read where a container does not hide them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

from lastgood.backends.linux_mounts import Mount

SYS: Final = "/sys"
JOURNALS: Final = "/proc/fs/jbd2"
EXT4: Final = "/proc/fs/ext4"
_IN_MEMORY: Final = ("ram", "zram")
_DEPTH: Final = 16
"""So many devices on top of each other are followed."""
_UNTOLD: Final = "cannot be told (/sys does not show it)"
_FAST_COMMIT: Final = (
    "this ext4 has fast_commit: where an fsync follows the removal of a directory, or is of an "
    "open file without a name, Linux 6.18 can refuse to mount the volume after a crash (EUCLEAN, "
    "EBADMSG) until e2fsck has replayed its journal, or mount it without what the fsync had kept. "
    "Unmount it, turn that off with tune2fs -O ^fast_commit, and check it with e2fsck -f"
)
WRITEBACK: Final = "data=writeback"
REUSES_BLOCKS: Final = (
    "the blocks of a removed file can be written anew before its removal is committed: a crash of "
    "Linux 6.18 can bring back a file that an fsync had kept with another file's bytes"
)

WeaknessOf = Callable[[str], str]
"""The weakness of the file system of a path; empty for none."""


def device_weakness(mount: Mount, weakness_of: WeaknessOf) -> str:
    """The reason why what is under a file system keeps less than it says; empty for none."""
    names = device_names(mount)
    if mount.kind == "ext4" and (weak := _ext4_weakness(names)):
        return weak
    found = (weak for name in names for weak in _weak_below(name, weakness_of, _DEPTH))
    return next(found, "")


def _ext4_weakness(names: list[str]) -> str:
    """The weakness of an ext4 by its journal and by the options that the kernel shows."""
    journal = has_journal(names[0]) if names else None
    if journal is None:
        return f"whether this ext4 has a journal {_UNTOLD}"
    if not journal:
        return (
            "this ext4 has no journal (mke2fs -O ^has_journal), and no profile of the model "
            "speaks for that: give it one with tune2fs -j"
        )
    if any(map(commits_fast, names)):
        return _FAST_COMMIT
    if any(map(writes_back, names)):
        return (
            f"{WRITEBACK} is the default of this ext4 (tune2fs -o journal_data_writeback), so "
            f"that {REUSES_BLOCKS}. Mount it with data=ordered"
        )
    # /sys/fs/ext4 shows neither, and the mount table leaves the defaults of a volume out.
    hidden = (name for name in names if not _ext4_options(name))
    return next(map(_hidden_options, hidden), "")


def _hidden_options(name: str) -> str:
    return (
        f"whether this ext4 has fast_commit or {WRITEBACK} cannot be told ({EXT4}/{name}/options "
        "cannot be read). Mount /proc so that it shows more than processes: without subset=pid, "
        "and for a unit of systemd with ProcSubset=all"
    )


def device_doubt(mount: Mount) -> str:
    """The condition under which a promise stands where the devices are hidden; empty for none."""
    return "" if device_names(mount) else f" and if it is no device in memory, which {_UNTOLD}"


def device_names(mount: Mount) -> list[str]:
    """The kernel's names of a file system's devices, such as "vda1"; none where it hides them."""
    name = _name_of(mount.device)
    if name is not None:
        return [name]
    # btrfs has a number of its own: its devices are known by the one that was mounted.
    name = _name_of_node(mount.source)
    if name is None:
        return []
    top = f"{SYS}/fs/{mount.kind}"
    groups = (_listed(f"{top}/{each}/devices") for each in _listed(top))
    return next((sorted(group) for group in groups if name in group), [name])


def has_journal(name: str) -> bool | None:
    """Say whether the ext4 on the device of that name has a journal; None if not known."""
    task = _text(f"{SYS}/fs/ext4/{name}/journal_task")  # since Linux 5.1
    if task:
        return task != "<none>"
    if any(each.startswith(f"{name}-") for each in _listed(JOURNALS)):
        return True
    return None


def commits_fast(name: str) -> bool:
    """Say whether the ext4 on the device of that name is known to make fast commits.

    It counts each sync that made one, or could not, and counts nothing where it has no fast_commit.
    So before the first sync it is not known, unless the kernel is one that lists the feature.
    """
    counted = _text(f"{EXT4}/{name}/fc_info").splitlines()
    fields = (line.split() for line in counted)
    used = {each[1]: each[0] for each in fields if len(each) == 2}
    if any(used.get(what, "0") != "0" for what in ("commits", "ineligible")):
        return True
    return "fc_debug_force" in _ext4_options(name)


def writes_back(name: str) -> bool:
    """Say whether the ext4 on the device of that name is known to be mounted with data=writeback.

    The mount table does not show it where it is the default of the volume.
    """
    return WRITEBACK in _ext4_options(name)


def _ext4_options(name: str) -> list[str]:
    """All options of the ext4 on the device of that name, defaults too; none where not shown.

    What the kernel shows is never empty: "rw" or "ro" comes first.
    """
    return _text(f"{EXT4}/{name}/options").splitlines()


def _weak_below(name: str, weakness_of: WeaknessOf, depth: int) -> Iterator[str]:
    """The weaknesses of a block device and of all that it lies on."""
    here = os.path.realpath(f"{SYS}/class/block/{name}")
    whole = os.path.dirname(here) if os.path.exists(f"{here}/partition") else here
    disk = os.path.basename(whole)
    if disk.rstrip("0123456789") in _IN_MEMORY:
        yield f"its device {disk} lives in memory: nothing on it survives the machine"
    elif not depth:
        yield f"what is below its device {disk} {_UNTOLD}"
    elif disk.startswith("loop"):
        yield from _weak_loop(disk, _text(f"{whole}/loop/backing_file"), weakness_of)
    for lower in _listed(f"{whole}/slaves"):
        yield from _weak_below(lower, weakness_of, depth - 1)


def _weak_loop(disk: str, file: str, weakness_of: WeaknessOf) -> Iterator[str]:
    """The weakness of a loop device by that of the file that it is made of."""
    try:
        is_there = file.startswith("/") and not stat.S_ISDIR(os.stat(file).st_mode)
    except OSError:
        is_there = False
    if not is_there:
        named = f" ({file!r})" if file else ""
        yield f"its device {disk} is made of a file that cannot be seen from here{named}"
    elif weak := weakness_of(os.path.realpath(file)):
        yield f"its device {disk} is the file {file!r}, and of that: {weak}"


def _name_of(number: str) -> str | None:
    """The name of the device "MAJOR:MINOR"."""
    path = f"{SYS}/dev/block/{number}"
    return os.path.basename(os.path.realpath(path)) if os.path.exists(path) else None


def _name_of_node(source: str) -> str | None:
    """The name of a device by its node."""
    try:
        at = os.stat(source)
    except OSError:
        return _name_of_missing_node(os.path.basename(source))
    if not stat.S_ISBLK(at.st_mode):
        return None
    return _name_of(f"{os.major(at.st_rdev)}:{os.minor(at.st_rdev)}")


def _name_of_missing_node(node: str) -> str | None:
    """The same where the node is not to be seen: in a container, often."""
    names = _listed(f"{SYS}/class/block")
    if node in names:
        return node
    mapped = (name for name in names if node and _text(f"{SYS}/class/block/{name}/dm/name") == node)
    return next(mapped, None)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
