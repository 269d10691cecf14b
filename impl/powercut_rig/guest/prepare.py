"""Makes the guest: kernel, modules and first file system, once for each set of versions.

What is made lies in a cache folder, under a key of the packages' versions and of all that goes into
it from here.  A folder there is complete: it is made elsewhere and renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.guest import edit, initramfs, kernel, packages, saved
from powercut_rig.guest.bundle import agents_bundle
from powercut_rig.guest.packages import Parts
from powercut_rig.guest.qemu import Saved
from powercut_rig.tools import run_tool

DRIVERS: Final = ("apfs_packaged", "apfs_strict")
KEPT: Final = 3
"""How many guests of other versions stay in the cache."""

_BUILD_TIMEOUT_S: Final = 300.0
_BUILDING: Final = "building-"
_NAME: Final = "guest-"


@frozen
class Guest:
    """A guest that is made, in its folder of the cache: its kernel and first file system."""

    home: Path
    release: str

    @property
    def vmlinux(self) -> Path:
        """Its kernel."""
        return self.home / "vmlinux"

    @property
    def initrd(self) -> Path:
        """The archive that all its boots share."""
        return self.home / "initrd.cpio"


@frozen
class Ready:
    """A guest that has booted and was saved, and what can be loaded into it, in its order."""

    saved: Saved
    orders: Mapping[str, Sequence[str]]


def cache_folder() -> Path:
    """Where guests are kept: below XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "powercut-rig"


def key_of(parts: Parts) -> str:
    """A name for all that a guest is made from: packages with their hashes, edits, this code."""
    digest = hashlib.sha256()
    for package in parts.packages:
        digest.update(f"{package.file} {package.digest}\n".encode())
    for module in (edit, initramfs, kernel, packages, sys.modules[__name__]):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:24]


@functools.cache
def prepared() -> Ready:
    """The guest for the packages that apt knows now, made and booted if it is not there yet.

    RigUnavailable where something for it is missing; the cache holds then what it held before.
    """
    # Workers are forks and inherit the answer: apt is asked once for each command.
    if missing := packages.missing_programs():
        raise RigUnavailable(missing)
    cache = cache_folder()
    state = packages.state_of_apt()
    parts = packages.remembered_parts(cache, packages.known_parts, state)
    guest = prepare(parts, cache, build_and_boot)
    with _cache_errors(cache), alone(cache):
        return ready(guest)


def prepare(
    parts: Parts,
    cache: Path,
    make: Callable[[Parts, Path, Path], None],
) -> Guest:
    """The guest made from `parts` in the folder `cache`; `make` makes it where it is missing.

    It is given the parts, a folder to work in, and the folder for the result.
    """
    home = cache / (_NAME + key_of(parts))
    with _cache_errors(cache):
        if not home.is_dir():
            with alone(cache):
                if not home.is_dir():
                    _make_in(cache, home, parts, make)
        os.utime(home)
    return Guest(home, parts.release)


@contextlib.contextmanager
def _cache_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RigUnavailable(
            [f"The guest cannot be kept in {cache} ({error.strerror}); set XDG_CACHE_HOME."]
        ) from error


def _make_in(
    cache: Path, home: Path, parts: Parts, make: Callable[[Parts, Path, Path], None]
) -> None:
    for stale in cache.glob(_BUILDING + "*"):  # of a run that was killed: we hold the lock
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=cache) as folder:
        result = Path(folder) / "result"
        result.mkdir()
        work = Path(folder) / "work"
        work.mkdir()
        make(parts, work, result)
        result.rename(home)
    others = sorted(cache.glob(_NAME + "*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in [path for path in others if path != home][KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def alone(cache: Path) -> Iterator[None]:
    """One process makes guests at a time; the others wait and find it made."""
    cache.mkdir(parents=True, exist_ok=True)
    lock = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def ready(guest: Guest) -> Ready:
    """A guest to go on from, booted and saved if it was not yet."""
    orders = json.loads((guest.home / "load.json").read_text())
    return Ready(saved.saved_guest(guest.home, guest.release, agents_bundle()), orders)


def build_and_boot(parts: Parts, work: Path, result: Path) -> None:
    """Build a guest and let it boot once, with each driver loaded, before anybody relies on it."""
    build(parts, work, result)
    made = ready(Guest(result, parts.release))
    for driver in DRIVERS:
        saved.trial(made.saved, made.orders[driver])


def build(parts: Parts, work: Path, result: Path) -> None:
    """Fetch, compile and pack a guest into `result`. RigUnavailable where a step fails."""
    root = parts.fetch(work)
    release = parts.release
    image = (root / "boot" / f"vmlinuz-{release}").read_bytes()
    (result / "vmlinux").write_bytes(kernel.vmlinux_of(image))
    drivers = _drivers(root, work, release)
    kernel_modules = {
        path.stem.replace("-", "_"): path
        for path in (root / "lib" / "modules" / release).rglob("*.ko")
    }

    def module(name: str) -> bytes | None:
        if name in drivers:
            return drivers[name]
        path = kernel_modules.get(name)
        return None if path is None else _stripped(path)

    base = initramfs.in_load_order(initramfs.BASE_MODULES, module)
    modules = dict(base)
    orders: dict[str, list[str]] = {}
    for name in initramfs.LATER_MODULES:
        order = initramfs.in_load_order((name,), module)
        orders[name] = [each for each in order if each not in base]
        modules |= order
    busybox = Path(packages.find_program("busybox") or "").read_bytes()
    if b"ld-linux" in busybox[:4096]:
        raise RigUnavailable(["busybox is not a static one here (package busybox-static)."])
    (result / "initrd.cpio").write_bytes(initramfs.base_archive(busybox, modules, base))
    (result / "load.json").write_text(json.dumps(orders))


def _drivers(root: Path, work: Path, release: str) -> dict[str, bytes]:
    """The driver's modules, compiled for the guest's kernel: as packaged, and with the edits."""
    (packaged,) = (root / "usr" / "src").glob("linux-apfs-rw-*")
    source = work / "driver"
    shutil.copytree(packaged, source)
    headers = root / "usr" / "src" / f"linux-headers-{release}"
    makefile = headers / "Makefile"
    # The one absolute path in the headers; they are unpacked elsewhere.
    text = makefile.read_text()
    makefile.write_text(text.replace("include /usr/src/", f"include {root}/usr/src/"))
    made = {"apfs_packaged": _compiled(headers, source, release)}
    edit.edit_folder(source)  # only what depends on the edited files is compiled again
    made["apfs_strict"] = _compiled(headers, source, release)
    return made


def _compiled(headers: Path, source: Path, release: str) -> bytes:
    jobs = f"-j{os.cpu_count() or 1}"
    # Without debugging information, which would be stripped.
    command = ("make", "-C", str(headers), f"M={source}", jobs, "KCFLAGS=-g0", "modules")
    try:
        run_tool(command, timeout_s=_BUILD_TIMEOUT_S)
    except RigError as error:
        raise RigUnavailable([f"linux-apfs-rw does not compile for {release}: {error}"]) from error
    return _stripped(source / "apfs.ko")


def _stripped(module: Path) -> bytes:
    """A module without its debugging information, which is nine tenths of it."""
    stripped = module.with_suffix(".stripped")
    run_tool(("strip", "--strip-debug", "-o", str(stripped), str(module)))
    return stripped.read_bytes()
