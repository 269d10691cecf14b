"""Disk images by hdiutil: made, attached, detached, and never anybody else's.

What is attached here is written down here, and only that is detached.  An attach that was broken
off may have attached something all the same: the system's own list of images is asked then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from attrs import define, field

from powercut_rig.errors import RigError
from powercut_rig.macos.subprocesses import CommandError, ToolRunner, run_checked
from powercut_rig.macos.tool_output import AttachedImage, parse_attached, parse_images, raw_device
from powercut_rig.mounted.image_mounter import FsckReport

CREATE_S: Final = 180.0
ATTACH_S: Final = 120.0
DETACH_S: Final = 60.0
INFO_S: Final = 60.0
FSCK_S: Final = 300.0

_ATTEMPTS: Final = 6
_FIRST_PAUSE_S: Final = 0.25
_VOLUME: Final = "powercut"
_BAD_WORDS: Final = ("error:", "corrupt", "invalid", "could not be verified", "could not be repair")
"""fsck_apfs ends with status 0 over some damage, so its words are read as well."""

_COULD_NOT_LOOK: Final = ("Resource busy", "Permission denied", "Operation not permitted")


@define
class DiskImages:
    """All images that this process has attached; `close` detaches what is left of them.

    `pause` waits so many seconds between two attempts to detach: the system's own daemons look at
    new volumes, and a volume that is looked at is busy.
    """

    run: ToolRunner
    pause: Callable[[float], None]
    _attached: dict[Path, AttachedImage] = field(factory=dict)

    def create(self, path: Path, size_bytes: int) -> None:
        """Make an image with an empty APFS volume, unattached. CommandError."""
        volume = ("-fs", "APFS", "-volname", _VOLUME, "-nospotlight")
        self._create(path, size_bytes, volume)

    def create_blank(self, path: Path, size_bytes: int) -> None:
        """Make an image with nothing on it, no partition either, unattached. CommandError."""
        self._create(path, size_bytes, ("-layout", "NONE"))

    def _create(self, path: Path, size_bytes: int, holding: tuple[str, ...]) -> None:
        arguments = [
            "hdiutil", "create", "-quiet", "-size", f"{size_bytes // 512}b", "-type", "UDIF",
            *holding, str(path),
        ]  # fmt: skip
        run_checked(self.run, arguments, CREATE_S)
        if not path.is_file():
            raise RigError(
                f"hdiutil said that it made {path}, and it is not there. Nothing is attached."
            )

    @contextlib.contextmanager
    def attached(
        self, path: Path, mount_point: Path | None, *, writable: bool
    ) -> Iterator[AttachedImage]:
        """Attach an image, and mount its volume at `mount_point` (None: mount nothing).

        Nothing of it is checked or repaired on the way in.  Detached at the end, also after an
        error or Ctrl-C.  CommandError where the system will not attach or mount it.
        """
        arguments = ["hdiutil", "attach", str(path), "-plist", "-noverify", "-noautofsck"]
        if not writable:
            arguments.append("-readonly")
        if mount_point is None:
            arguments.append("-nomount")
        else:
            arguments += ["-nobrowse", "-owners", "off", "-mountpoint", str(mount_point)]
        try:
            found = parse_attached(run_checked(self.run, arguments, ATTACH_S).stdout)
            self._attached[path] = found
            if mount_point is not None and not found.mount_point:
                raise RigError(f"{path} was attached as {found.device} and nothing was mounted.")
            yield found
        except BaseException:
            with contextlib.suppress(RigError):  # the first error is the one to tell
                self._detach_whatever(path)
            raise
        self._detach_whatever(path)

    def fsck(self, path: Path) -> FsckReport:
        """Run fsck_apfs on an image, which it does not change. RigError where it cannot look.

        The image is attached read-only, and nothing of it mounted.
        """
        with self.attached(path, None, writable=False) as found:
            done = self.run(["fsck_apfs", "-n", raw_device(found.store)], FSCK_S)
        return fsck_report(done.status, f"{done.stdout.decode(errors='replace')}\n{done.stderr}")

    def detach_left_behind(self, folder: Path) -> None:
        """Detach images below a folder of ours whose process was killed. RigError."""
        for path, devices in self._listed().items():
            if Path(path).is_relative_to(folder):
                self._detach(devices[0], path)

    @property
    def any_attached(self) -> bool:
        """An image of ours is still attached."""
        return bool(self._attached)

    def close(self) -> None:
        """Detach all that is still attached. RigError names what could not be."""
        failed = []
        for path in list(self._attached):
            try:
                self._detach_whatever(path)
            except RigError as error:
                failed.append(str(error))
        if failed:
            raise RigError(" ".join(failed))

    def _detach_whatever(self, path: Path) -> None:
        """Detach an image of ours, by what attach answered, or else by the system's own list."""
        found = self._attached.get(path)
        device = found.device if found else next(iter(self._listed().get(str(path), ())), None)
        if device is not None:
            self._detach(device, str(path))
        self._attached.pop(path, None)

    def _listed(self) -> dict[str, tuple[str, ...]]:
        return parse_images(run_checked(self.run, ["hdiutil", "info", "-plist"], INFO_S).stdout)

    def _detach(self, device: str, path: str) -> None:
        """Detach a device; a busy one is asked again, each time later, and by force at last."""
        error: CommandError | None = None
        for attempt in range(_ATTEMPTS):
            force = ["-force"] if attempt == _ATTEMPTS - 1 else []
            try:
                run_checked(self.run, ["hdiutil", "detach", device, *force], DETACH_S)
            except CommandError as failed:
                error = failed
            else:
                return
            if path not in self._listed():  # it is gone already
                return
            self.pause(_FIRST_PAUSE_S * 2**attempt)
        raise RigError(
            f"{path} stays attached as {device}: {error} Nothing else was touched. Close what "
            f"uses it, then run: hdiutil detach {device} -force"
        )


def fsck_report(status: int, output: str) -> FsckReport:
    """The verdict in what fsck_apfs said: clean by its status *and* by its words.

    Raises RigError where it could not look at the disk at all: that is no verdict.
    """
    complaints = [
        line for line in output.splitlines() if any(word in line.lower() for word in _BAD_WORDS)
    ]
    if status != 0 and any(words in output for words in _COULD_NOT_LOOK):
        raise RigError(f"fsck_apfs could not look (status {status}): {output.strip()[-300:]}")
    return FsckReport(status == 0 and not complaints, output[-4000:])
