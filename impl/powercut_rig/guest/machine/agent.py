"""Runs in the guest: system calls on the disk there, one request after the other.

It is started alone, without site-packages.  What it does with a disk it does by the project's own
code: ops by `powercut_rig.mounted.op_runner`, trees by `powercut_rig.mounted.tree_reader`, recovery
by the disk that the subject uses in production.  Only what those modules need is imported, because
Python is twenty times slower here than outside: the packages' own `__init__` files are passed over.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = "/mnt"
_FINIT_MODULE = 313  # on x86_64
BARE = ("powercut", "powercut_rig", "powercut_rig.guest")


def import_from(paths: list[str]) -> None:
    """Import from these folders; the packages in BARE without running their `__init__`."""
    sys.path[:0] = paths
    for name in BARE:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError(f"the host's files hold no {name}")
        bare = ModuleType(name)
        bare.__path__ = list(spec.submodule_search_locations)
        bare.__spec__ = spec
        sys.modules[name] = bare


class Agent:
    """The requests, by name; each returns what JSON and bytes can hold, or raises OSError."""

    def __init__(self) -> None:
        self._root = ROOT
        self._runner: Any = None
        self._disk: Any = None
        self._disk_number: int | None = None

    def hello(self, modules: list[str]) -> dict[str, str]:
        """Import modules ahead of their use, which takes its time here, and name the kernel."""
        for name in modules:
            importlib.import_module(name)
        return {"release": os.uname().release, "machine": os.uname().machine}

    def ping(self) -> None:
        """Answer."""

    def load(self, modules: list[str]) -> None:
        """Load modules of the kernel, in this order."""
        libc = ctypes.CDLL(None, use_errno=True)
        for name in modules:
            fd = os.open(f"/modules/{name}.ko", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if libc.syscall(_FINIT_MODULE, fd, b"", 0) != 0:
                    raise OSError(ctypes.get_errno(), f"the module {name} cannot be loaded")
            finally:
                os.close(fd)

    def provide(self, files: list[tuple[str, bytes]]) -> None:
        """Keep files, at the paths that they have on the host."""
        for path, content in files:
            place = Path(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        importlib.invalidate_caches()

    def mount(self, device: str, kind: str, flags: int, options: str) -> None:
        """Mount a device."""
        from powercut_rig.system import linux_syscalls

        linux_syscalls.mount(device, self._root, kind, flags, options)

    def umount(self) -> None:
        """Unmount it; what ops left open is closed first."""
        from powercut_rig.system import linux_syscalls

        self._disk = None
        self.close()
        linux_syscalls.umount(self._root)

    def perform(self, op: list[Any]) -> None:
        """Perform one op."""
        from powercut_rig.guest.machine.op_codec import op_from

        self._ops().perform(op_from(op))

    def write_back(self, item: list[Any]) -> None:
        """Write something early."""
        from powercut_rig.mounted.writeback import WriteBack

        self._ops().write_back(WriteBack(*item))

    def sync(self) -> None:
        """Make everything durable."""
        self._ops().sync()

    def close(self) -> None:
        """Close what ops left open."""
        if self._runner is not None:
            self._runner.close()
        self._runner = None

    def _ops(self) -> Any:
        """The runner of ops on this mount."""
        if self._runner is None:
            from powercut_rig.mounted.op_runner import LocalOpRunner
            from powercut_rig.system import linux_syscalls

            self._runner = LocalOpRunner(self._root, linux_syscalls.commit_by_root)
        return self._runner

    def look(self) -> list[Any]:
        """The tree."""
        from powercut_rig.guest.machine.tree_codec import snapshot_to
        from powercut_rig.mounted.tree_reader import read_snapshot

        return snapshot_to(read_snapshot(self._root))

    def call(self, disk: list[Any], method: str, arguments: list[Any]) -> Any:
        """Call a method of a subject's own disk; the first arguments are paths below the mount.

        `disk` is a number, a module and a name there: another number means a new disk.
        """
        number, module, name = disk
        if self._disk is None or self._disk_number != number:
            self._disk = getattr(importlib.import_module(module), name)()
            self._disk_number = number
        paths = 2 if method == "rename" else 1
        real = [self._root + path if path != "/" else self._root for path in arguments[:paths]]
        return getattr(self._disk, method)(*real, *arguments[paths:])


def serve(port: int) -> None:
    """Answer requests until the host is gone."""
    from powercut_rig.guest.machine import messages

    agent = Agent()
    while True:
        request = messages.receive(lambda count: os.read(port, min(count, 1 << 20)))
        try:
            answer = {"ok": getattr(agent, request["do"])(*request["with"])}
        except OSError as error:
            answer = {"errno": error.errno or 0, "error": error.strerror or str(error)}
        except Exception as error:
            answer = {"kind": type(error).__name__, "error": str(error)[:2000]}
        message = memoryview(messages.packed(answer))
        while message:
            message = message[os.write(port, message) :]


def main() -> None:
    """Find the port to the host and serve it."""
    import_from(json.loads(Path("/paths").read_text()))
    (port,) = Path("/dev").glob("vport*p1")
    serve(os.open(port, os.O_RDWR | os.O_CLOEXEC))


if __name__ == "__main__":
    main()
