"""Makes the guest: kernel, modules and first file system, once for each set of versions.

What is made lies in a cache folder, under a key of the packages' versions and of all that goes into
it from here.  A folder there is complete; see `powercut_rig.guest.build.cache`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from attrs import frozen

from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.guest import snapshot
from powercut_rig.guest.build import (
    cache,
    driver_patch,
    initramfs,
    kernel,
    kernel_modules,
    packages,
)
from powercut_rig.guest.build.packages import GuestPackages
from powercut_rig.guest.build.python_bundle import agents_bundle
from powercut_rig.guest.machine.qemu import SavedGuest
from powercut_rig.system.subprocesses import find_program, run_tool

DRIVERS: Final = ("apfs_packaged", "apfs_strict")
KEPT: Final = 3
"""How many guests of other versions stay in the cache."""

_BUILD_TIMEOUT_S: Final = 300.0
_BUILDING: Final = "building-"
_NAME: Final = "guest-"
_ABOUT: Final = "about.json"

_T = TypeVar("_T")


@frozen
class BuiltGuest:
    """A guest that is made, in its folder of the cache: its kernel and first file system."""

    home: Path
    release: str

    @property
    def vmlinux(self) -> Path:
        """Its kernel."""
        return self.home / "vmlinux"


@frozen
class ReadyGuest:
    """A guest that has booted and was saved, and what can be loaded into it, in its order."""

    guest: BuiltGuest
    saved: SavedGuest
    orders: Mapping[str, Sequence[str]]


def cache_folder() -> Path:
    """The folder that keeps guests: below XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "powercut-rig"


def key_of(parts: GuestPackages) -> str:
    """A name for all that a guest is made from: packages with their hashes, edits, this code."""
    digest = hashlib.sha256()
    for package in parts.packages:
        digest.update(f"{package.file} {package.digest}\n".encode())
    digest.update(_code().encode())
    return digest.hexdigest()[:24]


def _code() -> str:
    """A name for the code that makes a guest."""
    this = sys.modules[__name__]
    made_by = (driver_patch, initramfs, kernel, kernel_modules, packages, this)
    return cache.digest_of_code(*made_by).hex()


@functools.cache
def prepared() -> ReadyGuest:
    """The guest for the packages that apt knows now, made and booted if it is not there yet.

    Where apt knows none any more, because its lists are gone, it is the newest one that this code
    made, and that is told.  RigUnavailable where something for it is missing; the cache holds then
    what it held before.
    """
    # Workers are forks and inherit the answer: apt is asked once for each command.
    if missing := packages.missing_programs():
        raise RigUnavailable(missing)
    folder = cache_folder()
    state = packages.state_of_apt()
    try:
        parts = packages.remembered_parts(folder, packages.known_parts, state)
    except RigUnavailable as error:
        guest = newest_kept(folder)
        if guest is None:
            raise
        why = " ".join(error.reasons)
        cache.print_notice(
            f"{why} So the guest of before is used: Linux {guest.release}, {guest.home}."
        )
        with cache.exclusive(folder):
            return ready(guest)

    def once() -> ReadyGuest:
        guest = prepare(parts, folder, build_and_boot)
        with cache.exclusive(folder):
            return ready(guest)

    return anew_if_damaged(once, folder, folder / (_NAME + key_of(parts)))


def anew_if_damaged(once: Callable[[], _T], folder: Path, home: Path) -> _T:
    """The result of `once`, called again where the kept folder `home` was damaged.

    That is told, and `home` is removed first.
    """
    try:
        return once()
    except RigUnavailable:
        with cache.exclusive(folder):
            if not _removed_if_damaged(home):
                raise
        return once()


def replaced(broken: ReadyGuest) -> ReadyGuest | None:
    """Another guest for one that did not start, where a part of it is damaged; None where not.

    RigUnavailable where it cannot be made.
    """
    folder, home = broken.saved.folder, broken.guest.home
    with cache.exclusive(home.parent):
        removed = [_removed_if_damaged(each) for each in (folder, home)]
    if not any(removed) and folder.exists():
        return None
    prepared.cache_clear()
    return prepared()


def _removed_if_damaged(home: Path) -> bool:
    """Remove a kept folder that has other bytes than it was made with; whether that was so."""
    # All bytes are read, a quarter of a gigabyte: too slow for each start.
    why = cache.find_damage(home, digests=True) if home.exists() else ""
    if why:
        cache.remove_damaged(home, why)
    return bool(why)


def prepare(
    parts: GuestPackages,
    folder: Path,
    make: Callable[[GuestPackages, Path, Path], None],
) -> BuiltGuest:
    """The guest made from `parts` in the folder `folder`; `make` makes it where it is missing.

    It is given the parts, a folder to work in, and the folder for the result.  One that is not as
    it was made, by its files' sizes, is made again.
    """
    home = folder / (_NAME + key_of(parts))
    if cache.find_damage(home):
        with cache.exclusive(folder):
            if why := cache.find_damage(home):
                cache.remove_damaged(home, why)
                _make_in(folder, home, parts, make)
    with cache.errors_of(folder):
        os.utime(home)
    return BuiltGuest(home, parts.release)


def newest_kept(folder: Path) -> BuiltGuest | None:
    """The guest that was used last among those that this code made and that are complete."""
    found = []
    for home in folder.glob(_NAME + "*"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads((home / _ABOUT).read_text())
            if about["code"] == _code() and not cache.find_damage(home):
                found.append((home.stat().st_mtime, BuiltGuest(home, str(about["release"]))))
    return max(found, key=lambda each: each[0])[1] if found else None


def _make_in(
    folder: Path,
    home: Path,
    parts: GuestPackages,
    make: Callable[[GuestPackages, Path, Path], None],
) -> None:
    with cache.errors_of(folder):
        cache.remove_unfinished(folder, _BUILDING)
        place = tempfile.TemporaryDirectory(prefix=_BUILDING, dir=folder)
    with place as name:
        result = Path(name) / "result"
        work = Path(name) / "work"
        with cache.errors_of(folder):
            result.mkdir()
            work.mkdir()
        try:
            make(parts, work, result)
        except RigUnavailable:
            raise
        except (RigError, OSError) as error:
            raise RigUnavailable([f"The guest could not be built in {folder}: {error}"]) from error
        with cache.errors_of(folder):
            about = {"release": parts.release, "code": _code()}
            (result / _ABOUT).write_text(json.dumps(about))
            cache.keep_folder(result, home)
            cache.keep_newest(folder, _NAME, home, KEPT)


def ready(guest: BuiltGuest) -> ReadyGuest:
    """A guest to go on from, booted and saved if it was not yet.  RigUnavailable."""
    try:
        orders = json.loads((guest.home / "load.json").read_text())
        return ReadyGuest(
            guest, snapshot.saved_guest(guest.home, guest.release, agents_bundle()), orders
        )
    except OSError as error:
        why = f"The saved guest in {guest.home} could not be read or written: {error}"
        raise RigUnavailable([why]) from error


def build_and_boot(parts: GuestPackages, work: Path, result: Path) -> None:
    """Build a guest and let it boot once, with each driver loaded, before anybody relies on it."""
    build(parts, work, result)
    made = ready(BuiltGuest(result, parts.release))
    for driver in DRIVERS:
        snapshot.trial(made.saved, made.orders[driver])


def build(parts: GuestPackages, work: Path, result: Path) -> None:
    """Fetch, compile and pack a guest into `result`. RigUnavailable where a step fails."""
    root = parts.fetch(work)
    release = parts.release
    image = _only(root, f"boot/vmlinuz-{release}", "the kernel's package").read_bytes()
    (result / "vmlinux").write_bytes(kernel.vmlinux_of(image))
    of_kernel = kernel_modules.unpacked_modules(root, release)
    drivers = _drivers(root, work, release)

    def module(name: str) -> bytes | None:
        return drivers[name] if name in drivers else of_kernel.read(name, _stripped)

    base = initramfs.in_load_order(initramfs.BASE_MODULES, module)
    every = dict(base)
    orders: dict[str, list[str]] = {}
    for name in initramfs.LATER_MODULES:
        order = initramfs.in_load_order((name,), module)
        orders[name] = [each for each in order if each not in base]
        every |= order
    busybox = Path(find_program("busybox") or "").read_bytes()
    if b"ld-linux" in busybox[:4096]:
        raise RigUnavailable(["busybox is not a static one here (package busybox-static)."])
    (result / "initrd.cpio").write_bytes(initramfs.base_archive(busybox, every, base))
    (result / "load.json").write_text(json.dumps(orders))


def _only(root: Path, pattern: str, package: str) -> Path:
    """The one file or folder of a package that has such a name. RigUnavailable."""
    found = list(root.glob(pattern))
    if len(found) != 1:
        raise RigUnavailable([f"The guest needs one {pattern} of {package}; it has {len(found)}."])
    return found[0]


def _drivers(root: Path, work: Path, release: str) -> dict[str, bytes]:
    """The driver's modules, compiled for the guest's kernel: as packaged, and with the edits."""
    packaged = _only(root, "usr/src/linux-apfs-rw-*", packages.DRIVER)
    source = work / "driver"
    shutil.copytree(packaged, source)
    headers = root / "usr" / "src" / f"linux-headers-{release}"
    makefile = headers / "Makefile"
    # The one absolute path in the headers; they are unpacked elsewhere.
    text = makefile.read_text()
    makefile.write_text(text.replace("include /usr/src/", f"include {root}/usr/src/"))
    made = {"apfs_packaged": _compiled(headers, source, release)}
    driver_patch.edit_folder(source)  # only what depends on the edited files is compiled again
    made["apfs_strict"] = _compiled(headers, source, release)
    return made


def _compiled(headers: Path, source: Path, release: str) -> bytes:
    jobs = f"-j{os.cpu_count() or 1}"
    # Without debugging information, which would be stripped.
    command = ("make", "-C", str(headers), f"M={source}", jobs, "KCFLAGS=-g0", "modules")
    try:
        run_tool(command, timeout_s=_BUILD_TIMEOUT_S, family=True)
    except RigError as error:
        raise RigUnavailable([f"linux-apfs-rw does not compile for {release}: {error}"]) from error
    return _stripped(source / "apfs.ko")


def _stripped(module: Path) -> bytes:
    """A module without its debugging information, which is nine tenths of it."""
    stripped = module.with_suffix(".stripped")
    run_tool(("strip", "--strip-debug", "-o", str(stripped), str(module)))
    return stripped.read_bytes()
