"""Parsers for what hdiutil, diskutil, df and sw_vers print; what does not fit is refused by name.

The property lists are those of `hdiutil attach -plist`, `hdiutil info -plist` and `diskutil info
-plist`.  They come from the system's own programs, and are read as strictly as if they did not.
"""

from __future__ import annotations

import plistlib
import re
from collections.abc import Mapping
from typing import Any, Final
from xml.parsers.expat import ExpatError

from attrs import frozen

from powercut_rig.errors import RigError

_DEVICE: Final = re.compile(r"^(/dev/disk\d+)(s\d+)*$")
_CONTAINER_HINT: Final = "Apple_APFS"
_SIZE_LIMIT_BYTES: Final = 4 << 20


@frozen
class AttachedImage:
    """An attached image: the whole device, the partition of the APFS container, the mount.

    `device` is what `hdiutil detach` is given ("/dev/disk4"), `store` the partition for fsck
    ("/dev/disk4s1"), `mount_point` "" where nothing is mounted.
    """

    device: str
    store: str
    mount_point: str


@frozen
class VolumeInfo:
    """The volume that holds a path, as `diskutil info -plist` describes it."""

    file_system: str
    device: str
    protocol: str
    solid_state: bool | None
    encrypted: bool | None


def parse_attached(output: bytes) -> AttachedImage:
    """Parse the answer of `hdiutil attach -plist`. RigError says what of it is missing."""
    where = "hdiutil attach -plist"
    entities = _entities(_plist(output, where), where)
    devices = [device for entity in entities if (device := _device(entity, where))]
    if not devices:
        raise RigError(f"{where} answered without a device: {entities!r:.300}.")
    stores = [e for e in entities if e.get("content-hint") == _CONTAINER_HINT and "dev-entry" in e]
    store = _device(stores[0], where) if stores else min(devices, key=len)
    mounts = [point for entity in entities if (point := _text(entity, "mount-point", where))]
    if len(mounts) > 1:
        raise RigError(f"{where} mounted {len(mounts)} volumes, {mounts}; expected one.")
    return AttachedImage(whole_device(store), store, mounts[0] if mounts else "")


def parse_images(output: bytes) -> dict[str, tuple[str, ...]]:
    """Whole devices by image path, of all images that `hdiutil info -plist` lists. RigError."""
    where = "hdiutil info -plist"
    found: dict[str, tuple[str, ...]] = {}
    for image in _list(_plist(output, where), "images", where):
        if not isinstance(image, dict):
            raise RigError(f"{where} lists {image!r:.100} as an image; expected a dictionary.")
        path = _text(image, "image-path", where)
        entities = _entities(image, where)
        devices = [device for entity in entities if (device := _device(entity, where))]
        if path and devices:
            found[path] = tuple(dict.fromkeys(whole_device(device) for device in devices))
    return found


def parse_volume(output: bytes) -> VolumeInfo:
    """Parse the answer of `diskutil info -plist DEVICE`. RigError where it names no file system."""
    where = "diskutil info -plist"
    info = _plist(output, where)
    file_system = _text(info, "FilesystemType", where)
    if not file_system:
        raise RigError(f"{where} answered without the key FilesystemType.")
    return VolumeInfo(
        file_system,
        _text(info, "DeviceNode", where),
        _text(info, "BusProtocol", where),
        _flag(info, "SolidState"),
        _flag(info, "Encryption"),
    )


def parse_device(output: bytes) -> str:
    """The device in what `df -P PATH` prints: of the volume that holds the path. RigError."""
    lines = output.decode(errors="replace").splitlines()
    device = lines[-1].split(" ")[0] if len(lines) == 2 else ""
    if not _DEVICE.match(device):
        raise RigError(f"df -P answered without a disk device: {output[:200]!r}.")
    return device


def parse_versions(output: bytes) -> dict[str, str]:
    """The fields of `sw_vers`: ProductName, ProductVersion, BuildVersion. RigError."""
    fields = {}
    for line in output.decode(errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip()] = value.strip()
    missing = [name for name in ("ProductVersion", "BuildVersion") if not fields.get(name)]
    if missing:
        raise RigError(f"sw_vers answered without {' and '.join(missing)}: {output[:200]!r}.")
    return fields


def whole_device(device: str) -> str:
    """The whole device of a partition: "/dev/disk4" of "/dev/disk4s1". RigError."""
    match = _DEVICE.match(device)
    if match is None:
        raise RigError(f"{device!r} is no disk device; expected /dev/diskN. Nothing was detached.")
    return match[1]


def raw_device(device: str) -> str:
    """The node of a device that goes past the system's buffer cache: "/dev/rdisk4". RigError."""
    whole_device(device)
    return device.replace("/dev/disk", "/dev/rdisk", 1)


def _plist(output: bytes, where: str) -> Mapping[str, Any]:
    if len(output) > _SIZE_LIMIT_BYTES:
        raise RigError(f"{where} answered with {len(output)} B, and was not read.")
    try:
        found = plistlib.loads(output)
    except (ValueError, ExpatError, plistlib.InvalidFileException, RecursionError) as error:
        shown = output[:200].decode(errors="replace")
        raise RigError(f"{where} answered with no property list ({error}): {shown!r}") from error
    if not isinstance(found, dict):
        raise RigError(f"{where} answered with {type(found).__name__}; expected a dictionary.")
    return found


def _list(table: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = table.get(key)
    if not isinstance(value, list):
        raise RigError(f"{where} answered with {key} {value!r:.100}; expected a list.")
    return value


def _entities(table: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    entities = _list(table, "system-entities", where)
    if not all(isinstance(entity, dict) for entity in entities):
        raise RigError(f"{where} answered with an entity that is no dictionary.")
    return entities


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise RigError(f"{where} answered with {key} {value!r:.100}; expected text.")
    return value


def _device(entity: Mapping[str, Any], where: str) -> str:
    """The device of an entity, checked; "" where it has none."""
    device = _text(entity, "dev-entry", where)
    if device:
        whole_device(device)
    return device


def _flag(table: Mapping[str, Any], key: str) -> bool | None:
    value = table.get(key)
    return value if isinstance(value, bool) else None
