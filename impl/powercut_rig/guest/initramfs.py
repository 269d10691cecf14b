"""The guest's first file system: a cpio archive with busybox, the modules and an init script.

Archives can follow each other: the one in the cache holds what is the same for everybody, and a
small one is added at each boot with the agent and what this boot is to load.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attrs import frozen

from powercut_rig.errors import RigUnavailable

_TRAILER: Final = "TRAILER!!!"
_FOLDER: Final = 0o040755
_PROGRAM: Final = 0o100755
_FILE: Final = 0o100644

AGENT_FOLDER: Final = "/dev/powercut"
"""Where the agent lives below the host's files in the guest: in devtmpfs, which is the guest's."""

INIT: Final = f"""#!/bin/busybox sh
# Loads what this boot needs, shows the host's files read-only, and runs the agent on them.
b=/bin/busybox
$b mkdir -p /proc /sys /host
$b mount -t proc proc /proc
for module in $($b cat /load); do
    $b insmod /modules/$module.ko || echo "powercut guest: cannot load $module"
done
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host \\
    || echo "powercut guest: cannot mount the host's files"
$b mount -t devtmpfs dev /host/dev
$b mount -t proc proc /host/proc
$b mount -t sysfs sys /host/sys
$b mkdir -p /host{AGENT_FOLDER}/mnt
$b cp /agent.py /paths /host{AGENT_FOLDER}/
echo "powercut guest: ready"
PYTHONDONTWRITEBYTECODE=1 $b chroot /host "$($b cat /python)" -I -S {AGENT_FOLDER}/agent.py
echo "powercut guest: the agent has ended"
# Process 1 ends here: the kernel panics, and with panic=-1 and -no-reboot the machine is gone.
"""

BASE_MODULES: Final = (
    "virtio_pci", "virtio_blk", "virtio_console", "9pnet_virtio", "9p",
    "crc32c_generic", "crc32_generic",  # file systems ask for these by name, not by symbol
)  # fmt: skip


@frozen
class Entry:
    """A file or (content None) a folder in an archive."""

    path: str
    content: bytes | None
    mode: int


def folder(path: str) -> Entry:
    """An empty folder."""
    return Entry(path, None, _FOLDER)


def program(path: str, content: bytes) -> Entry:
    """A file that can be run."""
    return Entry(path, content, _PROGRAM)


def file(path: str, content: bytes) -> Entry:
    """A plain file."""
    return Entry(path, content, _FILE)


def archive(entries: Iterable[Entry]) -> bytes:
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


def needs(module: bytes) -> tuple[str, ...]:
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
            for needed in needs(content):
                add(needed, (*above, name))
            order[name] = content

    for name in names:
        add(name, ())
    return order


def at_boot(agent: bytes, python: str, paths: Iterable[str], load: Iterable[str]) -> bytes:
    """The archive of one boot: the agent, the interpreter, where it imports from, the modules."""
    return archive(
        (
            file("agent.py", agent),
            file("python", python.encode()),
            file("paths", json.dumps(list(paths)).encode()),
            file("load", "\n".join(load).encode()),
        )
    )


def base_archive(busybox: bytes, modules: Mapping[str, bytes]) -> bytes:
    """The archive that every boot shares."""
    return archive(
        (
            folder("bin"),
            folder("dev"),
            folder("modules"),
            program("bin/busybox", busybox),
            program("init", INIT.encode()),
            *(file(f"modules/{name}.ko", content) for name, content in modules.items()),
        )
    )
