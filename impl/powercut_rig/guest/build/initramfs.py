"""The guest's first file system, and its only one: busybox, modules, Python, and an init script.

Archives can follow each other: the one in the cache holds what changes with the packages only, and
the one with Python and the agent is added when the guest boots.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from powercut_rig.errors import RigUnavailable

_TRAILER: Final = "TRAILER!!!"
_FOLDER: Final = 0o040755
_PROGRAM: Final = 0o100755
_FILE: Final = 0o100644

INIT: Final = """#!/bin/busybox sh
# Loads what every guest needs and runs the agent.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in $($b cat /load); do
    if [ $module = nd_pmem ]; then
        # Without this the kernel would keep a structure for each page of the disk in memory.
        for raw in /sys/bus/nd/devices/namespace*/force_raw; do echo 1 > $raw; done
    fi
    $b insmod /modules/$module.ko || echo "powercut guest: cannot load $module"
done
echo "powercut guest: ready"
"$($b cat /python)" -I -S /agent.py
echo "powercut guest: the agent has ended"
# Process 1 ends here: the kernel panics, and with panic=-1 and -no-reboot the machine is gone.
"""

FILE_SYSTEM_MODULES: Final = ("ext4", "f2fs")

BASE_MODULES: Final = (
    "virtio_pci", "virtio_console",
    "nfit", "nd_pmem",  # in this order: nfit finds the disk, which nd_pmem then drives
    "crc32c_generic", "crc32_generic",  # file systems ask for these by name, not by symbol
    *FILE_SYSTEM_MODULES,
)  # fmt: skip
"""What is loaded when the guest boots."""

LATER_MODULES: Final = ("virtio_blk", "apfs_packaged", "apfs_strict")
"""What is loaded when it is known what the guest is for."""


@frozen
class ArchiveEntry:
    """A file or (content None) a folder in an archive."""

    path: str
    content: bytes | None
    mode: int


def folder(path: str) -> ArchiveEntry:
    """An empty folder."""
    return ArchiveEntry(path, None, _FOLDER)


def program(path: str, content: bytes) -> ArchiveEntry:
    """A file that can be run."""
    return ArchiveEntry(path, content, _PROGRAM)


def file(path: str, content: bytes) -> ArchiveEntry:
    """A plain file."""
    return ArchiveEntry(path, content, _FILE)


def archive(entries: Iterable[ArchiveEntry]) -> bytes:
    """The entries as a cpio archive of the format `newc`, owned by root, without times."""
    pieces = []
    for number, entry in enumerate(entries, start=1):
        pieces.append(_packed(number, entry.mode, entry.path, entry.content or b""))
    pieces.append(_packed(0, 0, _TRAILER, b""))
    return b"".join(pieces)


def _packed(number: int, mode: int, path: str, content: bytes) -> bytes:
    name = path.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device (2), rdevice (2), length of name, check
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(head + name) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def dependencies_of(module: bytes) -> tuple[str, ...]:
    """The modules that a kernel module depends on, by what it says of itself."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return tuple(filter(None, found.group(1).decode().split(","))) if found else ()


def in_load_order(names: Iterable[str], module: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """Those modules and all that they need, each after what it needs.

    `module` gives a module's bytes by its name, or None where the kernel has it built in.
    RigUnavailable where modules need each other.
    """
    order: dict[str, bytes] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        name = name.replace("-", "_")
        if name in above:
            raise RigUnavailable([f"Kernel modules need each other: {' '.join((*above, name))}."])
        content = None if name in order else module(name)
        if content is not None:
            for needed in dependencies_of(content):
                add(needed, (*above, name))
            order[name] = content

    for name in names:
        add(name, ())
    return order


def boot_archive(
    agent: bytes, python: str, paths: Iterable[str], files: Mapping[str, bytes]
) -> bytes:
    """The archive that a boot adds: the agent, and an interpreter with where it imports from."""
    folders = {
        str(parent)[1:]: None for path in sorted(files) for parent in [*Path(path).parents][-2::-1]
    }
    return archive(
        (
            file("agent.py", agent),
            file("python", python.encode()),
            file("paths", json.dumps(list(paths)).encode()),
            *map(folder, folders),
            *(program(path[1:], content) for path, content in files.items()),
        )
    )


def base_archive(busybox: bytes, modules: Mapping[str, bytes], load: Iterable[str]) -> bytes:
    """The archive that changes with the packages only; `load` are the modules loaded at boot."""
    return archive(
        (
            *map(folder, ("bin", "dev", "mnt", "modules", "proc", "sys")),
            program("bin/busybox", busybox),
            program("init", INIT.encode()),
            file("load", "\n".join(load).encode()),
            *(file(f"modules/{name}.ko", content) for name, content in modules.items()),
        )
    )
