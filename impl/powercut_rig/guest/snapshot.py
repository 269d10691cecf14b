"""A guest that has booted once, saved when its agent answers: every later one goes on from there.

A boot costs seconds, and to go on from a saved guest a fraction of one.  The saved memory is mapped
and copied on write, so guests share what they do not change.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.guest.build import cache, initramfs
from powercut_rig.guest.build.python_bundle import PythonBundle
from powercut_rig.guest.machine import agent, qemu, qemu_monitor
from powercut_rig.guest.machine.qemu import BootKernel, SavedGuest, VirtualMachine
from powercut_rig.system.subprocesses import find_program

KEPT: Final = 2
"""How many saved guests of other code stay beside the newest one."""

_NAME: Final = "saved-"
_BEING_MADE: Final = "saving-"


def key_of(bundle: PythonBundle) -> str:
    """A name for what a saved guest depends on, beside its kernel: Python, the agent, QEMU."""
    digest = hashlib.sha256(bundle.digest().encode())
    digest.update(cache.digest_of_code(agent, qemu_monitor, qemu, sys.modules[__name__]))
    program = Path(os.path.realpath(find_program(qemu.PROGRAM) or ""))
    about = program.stat()
    digest.update(f"{program} {about.st_size} {about.st_mtime_ns}".encode())
    return digest.hexdigest()[:24]


def saved_guest(home: Path, release: str, bundle: PythonBundle) -> SavedGuest:
    """The saved guest in the folder of a made one; it is booted and saved where there is none.

    The caller holds `cache.exclusive`.  `RigUnavailable` where it does not boot or cannot be saved,
    OSError where the folder cannot be written.
    """
    saved = SavedGuest(home / (_NAME + key_of(bundle)), release)
    if why := cache.find_damage(saved.folder):
        cache.remove_damaged(saved.folder, why)
        cache.remove_unfinished(home, _BEING_MADE)
        with tempfile.TemporaryDirectory(prefix=_BEING_MADE, dir=home) as folder:
            made = SavedGuest(Path(folder) / "made", release)
            made.folder.mkdir()
            boot_and_save(home, made, bundle)
            cache.keep_folder(made.folder, saved.folder)
        cache.keep_newest(home, _NAME, saved.folder, KEPT)
    os.utime(saved.folder)
    return saved


def boot_and_save(home: Path, made: SavedGuest, bundle: PythonBundle) -> None:
    """Boot the kernel in `home` with a memory of its own, and save it when its agent answers."""
    first = (home / "initrd.cpio").read_bytes()
    python = initramfs.boot_archive(
        Path(agent.__file__).read_bytes(), bundle.python, bundle.paths, bundle.files()
    )
    with _memory_file(first, python) as initrd, _memory_file() as disk:
        os.ftruncate(disk.fileno(), qemu.DISK_BYTES)
        kernel = BootKernel(home / "vmlinux", initrd.fileno())
        with VirtualMachine(made, disk.fileno(), kernel=kernel) as machine:
            try:
                machine.wait_until_ready(bundle.modules)
                if "cannot" in (words := machine.words()):
                    raise RigUnavailable([f"The guest boots, but said: {words}"])
                machine.save()
            except RigUnavailable:
                raise
            except RigError as error:
                why = f"The guest that had booted could not be saved: {error} {machine.words()}"
                raise RigUnavailable([why]) from error


def _memory_file(*contents: bytes) -> BinaryIO:
    file = os.fdopen(os.memfd_create("powercut-guest-file", os.MFD_CLOEXEC), "wb")
    for content in contents:
        file.write(content)
    file.flush()
    return file


def trial(saved: SavedGuest, load: Sequence[str]) -> None:
    """Go on from a saved guest once, load those modules, and end; raises `RigUnavailable`."""
    with _memory_file() as disk:
        os.ftruncate(disk.fileno(), qemu.DISK_BYTES)
        with VirtualMachine(saved, disk.fileno()) as machine:
            try:
                machine.wait_until_ready()
                machine.connection.request("load", list(load))
            except OSError as error:
                raise RigUnavailable([f"The guest starts, but {error.strerror}."]) from error
