"""Requirements on a Mac, and a description of the one that runs this, in plain sentences."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Final

from attrs import asdict, frozen

from powercut_rig.errors import RigError
from powercut_rig.macos.subprocesses import ToolRunner, is_installed, run_checked, run_system
from powercut_rig.macos.tool_output import VolumeInfo, parse_device, parse_versions, parse_volume

PROGRAMS: Final = ("hdiutil", "diskutil", "fsck_apfs", "sw_vers", "df", "cp")
WHAT_A_MAC_ADDS: Final = (
    "On a Mac, without root, `powercut compare --fs apfs --experiments` adds: saves and random "
    "programs on Apple's own APFS, with fsync, F_BARRIERFSYNC and F_FULLFSYNC each as itself; the "
    "trees that a kernel crash leaves there, held against the profile apfs; lastgood's recovery on "
    "each of them; fsck_apfs as a witness; and measurements of the rules that the profile has in "
    "doubt. It would still say nothing of a power cut."
)
FREE_BYTES: Final = 1 << 30
_ASK_S: Final = 60.0


@frozen
class MacMachine:
    """The Mac that was asked: its system, its processor, and the volume that held the images."""

    product: str
    version: str
    build: str
    kernel: str
    architecture: str
    python: str
    volume: str
    bus: str
    solid_state: bool | None
    encrypted: bool | None

    def in_words(self) -> str:
        """One line for a report."""
        return f"{self.product} {self.version} ({self.build}), {self.architecture}"

    def to_json(self) -> dict[str, object]:
        """The fields as a result file holds them; no name of a person or a disk is among them."""
        return asdict(self)


def missing_for_mac(run: ToolRunner = run_system, folder: Path | None = None) -> list[str]:
    """One sentence for each thing that keeps APFS from being asked here; empty where it can be.

    Looks only.  `folder` is where images would lie; the temporary folder by default.
    """
    if sys.platform != "darwin":
        why = f"APFS is asked through Apple's own driver, and this is {sys.platform}, not macOS."
        return [f"{why} {WHAT_A_MAC_ADDS}"]
    missing = [
        f"The program {name} of macOS was not found; it belongs to the system."
        for name in PROGRAMS
        if not is_installed(name)
    ]
    if missing:
        return missing
    place = (folder or Path(tempfile.gettempdir())).resolve()
    try:
        volume = _volume(run, place)
    except RigError as error:
        return [f"It is not known on which file system {place} lies: {error}"]
    if volume.file_system != "apfs":
        missing.append(
            f"{place} lies on {volume.file_system}, which cannot clone files; set TMPDIR to a "
            "folder on an APFS volume."
        )
    status = os.statvfs(place)
    free_bytes = status.f_bavail * status.f_frsize
    if free_bytes < FREE_BYTES:
        missing.append(f"{place} has {free_bytes} B free; {FREE_BYTES} B are needed.")
    return missing


def this_mac(run: ToolRunner, folder: Path) -> MacMachine:
    """Describe this Mac. RigError where one of its programs will not say."""
    versions = parse_versions(run_checked(run, ["sw_vers"], _ASK_S).stdout)
    volume = _volume(run, folder.resolve())
    return MacMachine(
        versions.get("ProductName", "macOS"),
        versions["ProductVersion"],
        versions["BuildVersion"],
        platform.release(),
        platform.machine(),
        platform.python_version(),
        volume.file_system,
        volume.protocol,
        volume.solid_state,
        volume.encrypted,
    )


def _volume(run: ToolRunner, folder: Path) -> VolumeInfo:
    """The volume under a folder. diskutil knows devices and mount points; df knows the device."""
    device = parse_device(run_checked(run, ["df", "-P", str(folder)], _ASK_S).stdout)
    return parse_volume(run_checked(run, ["diskutil", "info", "-plist", device], _ASK_S).stdout)
