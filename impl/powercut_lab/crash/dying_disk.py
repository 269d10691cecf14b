"""A real disk in a process that dies at one of its calls.

The calls are those of the disk seam, through which a protocol does all of its I/O.  They are
counted from `arm` on, which is called right before the save under test.
"""

from __future__ import annotations

import os
import signal
from typing import Any, Final

from attrs import frozen

from powercut.simulation.model_disk import SubjectDisk
from powercut_rig.mounted.rooted_disk import RootedDisk

SHORT_WRITE: Final = "short write"


@frozen
class AtCall:
    """Death before the call number `number`, from 0; or within it, if it is a write.

    Within: when half of its bytes are written.
    """

    number: int
    half: bool = False


@frozen
class AtStep:
    """Death at a step of a save.

    `method` is a call of the disk.  `number` counts from 1: of `create`, `write` and `close` it is
    the number of the file in the order in which the save makes its files, of any other call the
    number of that call.  `half`: when half of a file's bytes are written; otherwise before the
    call.  With `survives` nobody dies: the other half is left out, and nobody is told.
    """

    method: str
    number: int
    half: bool = False
    survives: bool = False


Death = AtCall | AtStep

_OF_A_FILE: Final = ("create", "write", "close")


def die() -> None:
    """End this process by SIGKILL: nothing in it has a last word."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingDisk(RootedDisk):
    """The disk `disk` below `root`; the process dies as `death` says (None: it does not).

    `calls` has the name of each call since `arm`; `met` says that the death came to pass, which
    can be read only where nobody dies of it.
    """

    def __init__(self, disk: SubjectDisk, root: str, death: Death | None) -> None:
        super().__init__(disk, root)
        self.calls: list[str] = []
        self.met = False
        self._death = death
        self._is_armed = False
        self._files: list[str] = []
        self._counts: dict[str, int] = {}

    def arm(self) -> None:
        """From the next call on, the calls are counted."""
        self._is_armed = True

    def _call(self, method: str, *arguments: Any) -> Any:
        if not self._is_armed:
            return super()._call(method, *arguments)
        number = len(self.calls)
        self.calls.append(method)
        if not self._is_hit(method, arguments, number):
            return super()._call(method, *arguments)
        self.met = True
        death = self._death
        if death is not None and death.half and method == "write":
            path, data = arguments
            super()._call(method, path, memoryview(data)[: len(data) // 2])
            if isinstance(death, AtStep) and death.survives:
                return None
        die()
        return None

    def _is_hit(self, method: str, arguments: tuple[Any, ...], number: int) -> bool:
        death = self._death
        if isinstance(death, AtCall):
            return number == death.number and (method == "write" or not death.half)
        count = self._number(method, arguments)
        return death is not None and (method, count) == (death.method, death.number)

    def _number(self, method: str, arguments: tuple[Any, ...]) -> int:
        """The number of a call in the sense of `AtStep`."""
        if method == "create":
            self._files.append(arguments[0])
        if method in _OF_A_FILE:
            path = arguments[0]
            return 1 + self._files.index(path) if path in self._files else 0
        self._counts[method] = self._counts.get(method, 0) + 1
        return self._counts[method]
