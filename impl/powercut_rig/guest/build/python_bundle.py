"""The Python of a guest: this machine's interpreter, with just the modules that the agent needs.

They stand at the same paths there.  Modules are compiled here, because that is slow in a guest.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import marshal
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Final

from attrs import frozen

from powercut.simulation.subject import load_subject, subject_names
from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.guest.build import module_closure
from powercut_rig.system.subprocesses import run_tool

AGENT_MODULES: Final = (
    "powercut_rig.system.linux_syscalls",
    "powercut_rig.mounted.tree_reader",
    "powercut_rig.mounted.op_runner",
    "powercut_rig.mounted.writeback",
    "powercut_rig.guest.machine.op_codec",
    "powercut_rig.guest.machine.tree_codec",
    "powercut_rig.guest.machine.messages",
)
"""What the agent imports for its requests."""

_TIMEOUT_S: Final = 60.0
_UNCHECKED_HASH: Final = 1
_LIBRARY: Final = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)


@frozen
class PythonBundle:
    """Files of this machine: sources of modules, and the interpreter, libraries and extensions.

    `paths` is where the agent imports from, and `modules` what it imports at its start.
    """

    python: str
    paths: tuple[str, ...]
    modules: tuple[str, ...]
    sources: tuple[str, ...]
    binaries: tuple[str, ...]

    def digest(self) -> str:
        """A name for what it holds."""
        digest = hashlib.sha256(repr((self.python, self.paths, self.modules)).encode())
        digest.update(importlib.util.MAGIC_NUMBER)
        for path in (*self.sources, *self.binaries):
            digest.update(path.encode() + b"\0" + hashlib.sha256(Path(path).read_bytes()).digest())
        return digest.hexdigest()

    def files(self) -> dict[str, bytes]:
        """The content of each file in the guest, by its path; sources are compiled ones there."""
        return {
            **{path + "c": compiled(path) for path in self.sources},
            **{path: Path(path).read_bytes() for path in self.binaries},
        }


def compiled(path: str) -> bytes:
    """A source file as Python runs it without looking for the source."""
    code = SourceFileLoader(Path(path).stem, path).get_code(Path(path).stem)
    head = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little") + bytes(8)
    return head + marshal.dumps(code)


@functools.cache
def agents_bundle() -> PythonBundle:
    """All that the agent needs, the disks of the subjects that are installed here included."""
    disks = set()
    for name in subject_names():
        try:
            disks.add(type(load_subject(name).protocol.real_disk()).__module__)
        except Exception:  # noqa: S112  # of others' making; who uses it hears of it then
            continue
    return bundle_of((*AGENT_MODULES, *sorted(disks)))


@functools.cache
def bundle_of(modules: tuple[str, ...]) -> PythonBundle:
    """The bundle that those modules need to be imported. RigUnavailable where that fails here."""
    python = os.path.realpath(sys.executable)
    paths = tuple(os.path.realpath(path) for path in sys.path if path and Path(path).is_dir())
    try:
        needed = _closure(python, paths, modules)
        binaries = (python, *needed["compiled"])
        said = run_tool(("ldd", *binaries), timeout_s=_TIMEOUT_S).stdout
    except RigError as error:
        raise RigUnavailable([f"What Python needs in the guest cannot be found: {error}"]) from None
    libraries = {os.path.normpath(path) for path in _LIBRARY.findall(said)}
    every = dict.fromkeys((*binaries, *sorted(libraries)))
    return PythonBundle(python, paths, modules, tuple(needed["sources"]), tuple(every))


def _closure(python: str, paths: Sequence[str], modules: Sequence[str]) -> dict[str, list[str]]:
    asked = json.dumps({"paths": paths, "modules": modules})
    try:
        done = subprocess.run(
            (python, "-I", "-S", module_closure.__file__),
            input=asked, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RigError(f"{python}: {error}") from error
    if done.returncode != 0:
        raise RigError(f"{python} cannot import it: {done.stderr.strip()[-600:]}")
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found
