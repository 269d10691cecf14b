"""Clones of an image file: what the image's drive holds at one moment, while it is attached.

Only a clone will do.  A copy takes its time, and would mix moments.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen

from powercut_rig.errors import RigError
from powercut_rig.macos.darwin_syscalls import clonefile
from powercut_rig.macos.subprocesses import CommandError, ToolRunner, run_checked

CLONE_S: Final = 60.0

Cloner = Callable[[Path, Path], None]
"""Makes the second path a clone of the first, which must not exist. RigError."""


@frozen
class SystemCloner:
    """Clones by clonefile(2), or by `cp -c` where Python's libc lacks it.

    `cp -c` falls back to a copy where the file system cannot clone, so it is asked only for a
    folder that is known to lie on APFS, which `requirements.missing_for_mac` checks.
    """

    run: ToolRunner
    call: Callable[[str, str], None] = clonefile

    def __call__(self, src: Path, dst: Path) -> None:
        """Clone one file. RigError says why it cannot be."""
        try:
            self.call(str(src), str(dst))
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise RigError(
                    f"{src} cannot be cloned: {error.strerror}. Clones need APFS and room on it; "
                    "set TMPDIR to a folder on an APFS volume. The image is intact."
                ) from error
            self._by_cp(src, dst)

    def _by_cp(self, src: Path, dst: Path) -> None:
        if dst.exists():
            raise RigError(f"{dst} is there already; a clone never overwrites.")
        try:
            run_checked(self.run, ["cp", "-c", str(src), str(dst)], CLONE_S)
        except CommandError:
            dst.unlink(missing_ok=True)  # half a copy is no clone
            raise
