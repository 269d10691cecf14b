"""The programs of this machine that make a guest, and the Debian packages that apt fetches for it.

The packages are downloaded and unpacked into a folder, never installed, so no root is needed.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from attrs import frozen

from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.system.subprocesses import find_program, run_tool

PROGRAMS: Final = (
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("make", "make"),
    ("strip", "binutils"),
    ("apt-get", "apt"),
    ("dpkg", "dpkg"),
)
"""The programs that every guest needs, and the Debian packages that have them."""

COMPILERS: Final = {"12": "gcc-12", "13": "gcc-14"}
"""By Debian's release: its kernel's headers call the compiler by this name, its package's too."""

KERNEL_META: Final = "linux-image-amd64"
DRIVER: Final = "apfs-dkms"
KERNEL_PARTS: Final = (
    "arch/x86/crypto/", "crypto/", "lib/", "drivers/acpi/nfit/", "drivers/block/virtio_blk.",
    "drivers/char/virtio_console.", "drivers/nvdimm/", "drivers/virtio/", "fs/ext4/", "fs/f2fs/",
    "fs/jbd2/", "fs/mbcache.",
)  # fmt: skip
"""Where a kernel has the modules that a guest loads, and what those need."""

_APT_TIMEOUT_S: Final = 300.0
_LARGEST_BYTES: Final = 1 << 30
"""Of all packages together, as they are downloaded, and of what is taken out of the kernel's."""
_SHA256: Final = "SHA256:"

_DEB: Final = re.compile(r"[^_/]+_[^_/]+_[^_/]+\.deb")

PackageToolRunner = Callable[[Sequence[str], Path | None], str]
"""Runs a program, in a folder, and gives its output; raises `RigError` where it fails."""


def run(arguments: Sequence[str], folder: Path | None = None) -> str:
    """The `PackageToolRunner` that runs programs."""
    return run_tool(arguments, timeout_s=_APT_TIMEOUT_S, folder=folder, family=True).stdout


def missing_programs(
    find: Callable[[str], str | None] = find_program,
    library: Callable[[str], str | None] = ctypes.util.find_library,
    *,
    system: str | None = None,
    machine: str | None = None,
    release: Mapping[str, str] | None = None,
) -> list[str]:
    """One sentence for each thing that keeps a guest from being made here; looks only.

    `release` is what os-release says of this system.
    """
    system, machine = system or sys.platform, machine or platform.machine()
    if system != "linux" or machine != "x86_64":
        return [f"The guest needs Linux on x86_64 and this is {system} on {machine}."]
    release = _os_release() if release is None else release
    compiler = COMPILERS.get(release.get("VERSION_ID", "")) if _is_debian(release) else None
    if compiler is None:
        known = " or ".join(f"{number} (with {name})" for number, name in COMPILERS.items())
        this = release.get("PRETTY_NAME", "another system")
        return [f"The guest is made from the packages of Debian {known}, and this is {this}."]
    missing = [
        f"The program {program} is not installed (package {package})."
        for program, package in (*PROGRAMS, (compiler, compiler))
        if find(program) is None
    ]
    if library("elf") is None:
        missing.append("The library libelf is not installed (package libelf1).")
    return missing


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _is_debian(release: Mapping[str, str]) -> bool:
    return release.get("ID") == "debian"


@frozen
class DebianPackage:
    """A package as apt would download it: its file's name carries the version."""

    name: str
    file: str
    size: int
    digest: str

    @property
    def exact(self) -> str:
        """This version and no other, as apt is asked for it."""
        return f"{self.name}={unquote(self.file.split('_')[1])}"

    def verify(self, deb: Path) -> None:
        """`RigError` where a file that arrived is not the one that apt's lists told of."""
        size = deb.stat().st_size
        if size != self.size:
            raise RigError(f"{deb.name} has {size} B and apt's lists say {self.size}")
        with deb.open("rb") as file:
            found = _SHA256 + hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.digest:
            raise RigError(f"{deb.name} has {found} and apt's lists say {self.digest}")


@frozen
class GuestPackages:
    """The packages of one guest; `release` is what its kernel calls itself."""

    release: str
    packages: tuple[DebianPackage, ...]

    def wanted(self, path: str) -> bool:
        """A file of the kernel's package that a guest can have use for: a few of thousands."""
        modules = f"lib/modules/{self.release}/"
        short = path.removeprefix("usr/")
        if short.startswith(modules + "kernel/"):
            return short.removeprefix(modules + "kernel/").startswith(KERNEL_PARTS)
        return short in (f"boot/vmlinuz-{self.release}", modules + "modules.builtin")

    def fetch(self, folder: Path, run: PackageToolRunner = run) -> Path:
        """Download and unpack them all below `folder`, just these versions, byte for byte.

        RigUnavailable where that fails; then nothing of a wrong package was unpacked.
        """
        root = folder / "root"
        root.mkdir()
        try:
            if (together := sum(package.size for package in self.packages)) > _LARGEST_BYTES:
                raise RigError(f"they have {together} B, more than any kernel's should")
            run(("apt-get", "download", *(package.exact for package in self.packages)), folder)
            expected = {package.file: package for package in self.packages}
            found = sorted(folder.glob("*.deb"))
            if other := {deb.name for deb in found} - set(expected):
                raise RigError(f"{', '.join(sorted(other))} arrived, which nobody asked for")
            if len(found) != len(expected):
                raise RigError(f"{len(found)} of {len(expected)} packages arrived")
            for deb in found:
                expected[deb.name].verify(deb)
            for deb in found:
                if deb.name.startswith("linux-image-"):
                    unpack(deb, root, self.wanted)
                else:
                    run(("dpkg", "-x", str(deb), str(root)), folder)
                deb.unlink()
        except (RigError, OSError, tarfile.TarError) as error:
            raise RigUnavailable(
                [f"The guest's packages could not be downloaded and unpacked: {error}"]
            ) from error
        return root


def unpack(deb: Path, root: Path, wanted: Callable[[str], bool]) -> None:
    """Unpack those files of a package: its paths begin without a slash. OSError, TarError.

    `RigError` where they are far larger than a kernel's are.
    """
    left = _LARGEST_BYTES
    command = (find_program("dpkg-deb") or "dpkg-deb", "--fsys-tarfile", str(deb))
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as files:
                for entry in files:
                    path = entry.name.removeprefix("./")
                    if entry.isfile() and wanted(path) and ".." not in path.split("/"):
                        if (left := left - entry.size) < 0:
                            raise RigError(f"{deb.name} holds more than {_LARGEST_BYTES} B")
                        source, place = files.extractfile(entry), root / path
                        place.parent.mkdir(parents=True, exist_ok=True)
                        place.write_bytes(source.read() if source else b"")
        except BaseException:
            process.kill()
            raise


def state_of_apt(root: Path = Path("/")) -> str:
    """A name for what apt knows now: its lists and its settings, by size and time."""
    digest = hashlib.sha256()
    for folder in (root / "var/lib/apt/lists", root / "etc/apt"):
        for path in sorted(folder.rglob("*")):
            with contextlib.suppress(OSError):
                about = path.stat()
                digest.update(f"{path} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def remembered_parts(cache: Path, ask: Callable[[], GuestPackages], state: str) -> GuestPackages:
    """The answer of `ask` for this state of apt, kept in the folder `cache`; it is slow to ask.

    A note that cannot be read or kept is no error: then apt is asked. `RigUnavailable` as it says.
    """
    note = cache / "packages.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(note.read_text())
        if kept["state"] == state:
            return GuestPackages(
                kept["release"], tuple(DebianPackage(*each) for each in kept["packages"])
            )
    parts = ask()
    listed = [[each.name, each.file, each.size, each.digest] for each in parts.packages]
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        new = note.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({"state": state, "release": parts.release, "packages": listed}))
        new.replace(note)
    return parts


def known_parts(
    run: PackageToolRunner = run, find: Callable[[str], str | None] = find_program
) -> GuestPackages:
    """The packages that apt knows now; nothing is pinned, because mirrors keep only the newest.

    Raises `RigUnavailable` where apt knows no such kernel or driver, or that kernel is for another
    compiler than is here.
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
        compiler = re.search(r"Depends: (?:linux-compiler-)?(gcc-\d+)", said)
        if compiler is not None and find(compiler[1]) is None:
            why = f"apt's newest kernel, {release}, is for the compiler {compiler[1]}, and that is"
            raise RigUnavailable([f"{why} not installed (package {compiler[1]})."])
        if kbuild is None or common is None:
            raise RigError(f"apt-cache named no build tools for {headers}")
        names = (image, headers, common.group(1), kbuild.group(1), DRIVER)
        listed = run(("apt-get", "download", "--print-uris", *names), None)
        return GuestPackages(release, tuple(_packages(names, listed)))
    except RigUnavailable:
        raise
    except RigError as error:
        why = (
            f"apt knows no kernel and driver for the guest: {error}. Refresh its lists (as root: "
            "apt-get update); the guest is made from Debian's packages."
        )
        raise RigUnavailable([why]) from error


def _packages(names: Sequence[str], listed: str) -> list[DebianPackage]:
    """Each line of apt's list: 'where' file size hash."""
    found = {}
    for line in listed.splitlines():
        words = line.split()
        if len(words) == 4 and _DEB.fullmatch(words[1]) and words[2].isdecimal():
            name = words[1].partition("_")[0]
            found[name] = DebianPackage(name, words[1], int(words[2]), words[3])
    if absent := [name for name in names if name not in found]:
        raise RigError(f"apt would not download {', '.join(absent)}")
    packages = [found[name] for name in names]
    if weak := [each.name for each in packages if not each.digest.startswith(_SHA256)]:
        raise RigError(f"apt's lists have no SHA-256 for {', '.join(weak)}")
    return packages
