"""What the guest is made of: programs of this machine, and Debian packages fetched by apt.

The packages are downloaded and unpacked into a folder, never installed, so no root is needed.
"""

from __future__ import annotations

import ctypes.util
import platform
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.tools import SEARCH_PATH, run_tool

PROGRAMS: Final = (
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("gcc-12", "gcc-12"),  # Debian's kernel headers call it by this name
    ("make", "make"),
    ("strip", "binutils"),
    ("apt-get", "apt"),
    ("dpkg", "dpkg"),
)
"""The programs that every guest needs, and the Debian packages that have them."""

KERNEL_META: Final = "linux-image-amd64"
DRIVER: Final = "apfs-dkms"
_APT_TIMEOUT_S: Final = 300.0

Run = Callable[[Sequence[str], Path | None], str]
"""Runs a program, in a folder, and gives its output; raises `RigError` where it fails."""


def run(arguments: Sequence[str], folder: Path | None = None) -> str:
    """The `Run` that runs programs."""
    return run_tool(arguments, timeout_s=_APT_TIMEOUT_S, folder=folder).stdout


def find_program(name: str) -> str | None:
    """The path of a program, sbin included."""
    return shutil.which(name, path=SEARCH_PATH)


def missing_programs(
    find: Callable[[str], str | None] = find_program,
    library: Callable[[str], str | None] = ctypes.util.find_library,
    *,
    system: str | None = None,
    machine: str | None = None,
) -> list[str]:
    """One sentence for each thing that keeps a guest from being made here; looks only."""
    system, machine = system or sys.platform, machine or platform.machine()
    if system != "linux" or machine != "x86_64":
        return [f"The guest needs Linux on x86_64 and this is {system} on {machine}."]
    missing = [
        f"The program {program} is not installed (package {package})."
        for program, package in PROGRAMS
        if find(program) is None
    ]
    if library("elf") is None:
        missing.append("The library libelf is not installed (package libelf1).")
    return missing


@frozen
class Package:
    """A package as apt would download it: its file's name carries the version."""

    name: str
    file: str
    digest: str


@frozen
class Parts:
    """The packages of one guest; `release` is what its kernel calls itself."""

    release: str
    packages: tuple[Package, ...]

    def fetch(self, folder: Path, run: Run = run) -> Path:
        """Download and unpack them all below `folder`. RigUnavailable where that fails."""
        root = folder / "root"
        root.mkdir()
        try:
            run(("apt-get", "download", *(package.name for package in self.packages)), folder)
            found = sorted(folder.glob("*.deb"))
            if len(found) != len(self.packages):
                raise RigError(f"{len(found)} of {len(self.packages)} packages arrived")
            for deb in found:
                run(("dpkg", "-x", str(deb), str(root)), folder)
                deb.unlink()
        except RigError as error:
            raise RigUnavailable(
                [f"The guest's packages could not be downloaded and unpacked: {error}"]
            ) from error
        return root


def known_parts(run: Run = run) -> Parts:
    """The packages that apt knows now; nothing is pinned, because mirrors keep only the newest.

    Raises `RigUnavailable` where apt knows no such kernel or driver.
    """
    try:
        said = run(("apt-cache", "depends", KERNEL_META), None)
        kernel = re.search(r"Depends: (linux-image-(\S+))", said)
        if kernel is None:
            raise RigError(f"apt-cache named no kernel for {KERNEL_META}")
        image, release = kernel.groups()
        headers = f"linux-headers-{release}"
        said = run(("apt-cache", "depends", headers), None)
        kbuild = re.search(r"Depends: (linux-kbuild-\S+)", said)
        common = re.search(r"Depends: (linux-headers-\S+-common)", said)
        if kbuild is None or common is None:
            raise RigError(f"apt-cache named no build tools for {headers}")
        names = (image, headers, common.group(1), kbuild.group(1), DRIVER)
        listed = run(("apt-get", "download", "--print-uris", *names), None)
        return Parts(release, tuple(_packages(names, listed)))
    except RigError as error:
        why = (
            f"apt knows no kernel and driver for the guest: {error}. Refresh its lists (as root: "
            "apt-get update); the guest is made from Debian's packages."
        )
        raise RigUnavailable([why]) from error


def _packages(names: Sequence[str], listed: str) -> list[Package]:
    """Each line of apt's list: 'where' file size hash."""
    found = {}
    for line in listed.splitlines():
        words = line.split()
        if len(words) == 4 and words[1].endswith(".deb"):
            found[words[1].partition("_")[0]] = Package(words[1].partition("_")[0], *words[1::2])
    if absent := [name for name in names if name not in found]:
        raise RigError(f"apt would not download {', '.join(absent)}")
    return [found[name] for name in names]
