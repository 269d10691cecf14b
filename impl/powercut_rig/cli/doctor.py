"""The parts of the rig that can run on this machine, and the reasons why the rest cannot."""

from __future__ import annotations

import platform

from attrs import frozen

from powercut.profile import Limit, load_profile
from powercut_rig.filesystems import FILE_SYSTEMS, missing_for
from powercut_rig.guest.build.packages import missing_programs
from powercut_rig.macos import APFS
from powercut_rig.macos.requirements import missing_for_mac
from powercut_rig.system.requirements import missing_everywhere


@frozen
class Capability:
    """One thing that the rig can do: whether it can here, and what is missing for it.

    `limits` are those of the profile that a disk is held against.
    """

    name: str
    title: str
    missing: tuple[str, ...]
    limits: tuple[Limit, ...] = ()

    @property
    def ready(self) -> bool:
        """It can run here."""
        return not self.missing


def diagnose() -> list[Capability]:
    """List the rig's capabilities here. Looks only: makes no mount and attaches no device."""
    everywhere = tuple(missing_everywhere())
    guest = tuple(missing_programs())
    found = [
        Capability("recorder", "recording the blocks that a file system writes", everywhere),
        Capability("guest", "a virtual machine with kernels' file systems, without root", guest),
    ]
    for name, fs in FILE_SYSTEMS.items():
        common = guest if fs.in_guest else everywhere
        missing = (*common, *missing_for(fs))
        found.append(Capability(name, fs.title, missing, load_profile(fs.profile).limits))
    title = "APFS by Apple's own driver, on a disk image that is cloned"
    found.append(Capability(APFS, title, tuple(missing_for_mac())))
    return found


def kernel_name() -> str:
    """The system and its release, as reports name it."""
    return f"{platform.system()} {platform.release()}"
