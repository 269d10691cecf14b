"""What hdiutil, diskutil, sw_vers and fsck_apfs print, read as their transcripts show it."""

from __future__ import annotations

import plistlib

import pytest

from powercut_rig.errors import RigError
from powercut_rig.macos.disk_images import fsck_report
from powercut_rig.macos.tool_output import (
    AttachedImage,
    VolumeInfo,
    parse_attached,
    parse_device,
    parse_images,
    parse_versions,
    parse_volume,
    whole_device,
)
from tests.rig.macos.fake_mac import CLEAN, DF, SW_VERS, attach_plist


def entities(*found: object) -> bytes:
    return plistlib.dumps({"system-entities": list(found)})


def test_an_attached_image_has_a_device_a_store_and_a_mount_point() -> None:
    found = parse_attached(attach_plist(4, "/private/tmp/m"))

    assert found == AttachedImage("/dev/disk4", "/dev/disk4s1", "/private/tmp/m")


def test_an_image_that_was_not_mounted_has_no_mount_point() -> None:
    assert parse_attached(attach_plist(4)) == AttachedImage("/dev/disk4", "/dev/disk4s1", "")


def test_without_a_partition_map_the_container_itself_is_the_device() -> None:
    answer = entities(
        {"content-hint": "Apple_APFS", "dev-entry": "/dev/disk7"},
        {"dev-entry": "/dev/disk8s1", "mount-point": "/m"},
    )
    assert parse_attached(answer) == AttachedImage("/dev/disk7", "/dev/disk7", "/m")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "no property list"),
        (b"hdiutil: attach failed - no mountable file systems\n", "no property list"),
        (b"<?xml version='1.0'?><plist version='1.0'><dict><key>", "no property list"),
        (plistlib.dumps([]), "list; expected a dictionary"),
        (plistlib.dumps({}), "system-entities None; expected a list"),
        (plistlib.dumps({"system-entities": {}}), "expected a list"),
        (entities(), "without a device"),
        (entities("x"), "no dictionary"),
        (entities({"content-hint": "Apple_APFS"}), "without a device"),
        (entities({"dev-entry": 7}), "expected text"),
        (entities({"dev-entry": "/dev/../etc/passwd"}), "no disk device"),
        (
            entities(
                {"dev-entry": "/dev/disk4s1", "mount-point": "/a"},
                {"dev-entry": "/dev/disk4s2", "mount-point": "/b"},
            ),
            "mounted 2 volumes",
        ),
        (b"x" * (5 << 20), "was not read"),
    ],
)
def test_an_answer_of_attach_that_does_not_fit_is_refused_with_what_is_wrong(
    answer: bytes, words: str
) -> None:
    with pytest.raises(RigError, match=words):
        parse_attached(answer)


def test_the_list_of_images_gives_whole_devices_by_path() -> None:
    answer = plistlib.dumps(
        {
            "images": [
                {
                    "image-path": "/private/tmp/a.dmg",
                    "system-entities": [
                        {"dev-entry": "/dev/disk4s1"},
                        {"dev-entry": "/dev/disk4"},
                        {"dev-entry": "/dev/disk5s1", "mount-point": "/m"},
                    ],
                },
                {"image-path": "ram://2048", "system-entities": []},
            ]
        }
    )
    assert parse_images(answer) == {"/private/tmp/a.dmg": ("/dev/disk4", "/dev/disk5")}
    assert parse_images(plistlib.dumps({"images": []})) == {}
    for bad in ({}, {"images": [1]}, {"images": [{"image-path": "/a"}]}):
        with pytest.raises(RigError, match="hdiutil info"):
            parse_images(plistlib.dumps(bad))


def test_a_volume_is_known_by_its_file_system() -> None:
    answer = {"FilesystemType": "apfs", "DeviceNode": "/dev/disk3s5", "SolidState": True}

    assert parse_volume(plistlib.dumps(answer)) == VolumeInfo(
        "apfs", "/dev/disk3s5", "", True, None
    )
    with pytest.raises(RigError, match="FilesystemType"):
        parse_volume(plistlib.dumps({"Error": True, "ErrorMessage": "Could not find disk"}))


def test_the_device_of_a_path_is_read_from_df() -> None:
    assert parse_device(DF) == "/dev/disk3s5"
    for bad in (b"", b"df: /no: No such file or directory\n", DF + DF, DF.replace(b"/dev/d", b"d")):
        with pytest.raises(RigError, match="without a disk device"):
            parse_device(bad)


def test_the_version_of_macos_is_read() -> None:
    assert parse_versions(SW_VERS)["BuildVersion"] == "23F79"
    with pytest.raises(RigError, match="without ProductVersion and BuildVersion"):
        parse_versions(b"sw_vers: not found\n")
    with pytest.raises(RigError, match="without BuildVersion"):
        parse_versions(b"ProductVersion: 14.5\nBuildVersion:\n")


@pytest.mark.parametrize("device", ["disk4", "/dev/rdisk4", "/dev/disk", "/dev/disk4/../sda", ""])
def test_what_is_no_disk_device_is_never_detached(device: str) -> None:
    with pytest.raises(RigError, match="Nothing was detached"):
        whole_device(device)


def test_a_clean_container_is_clean() -> None:
    assert fsck_report(0, CLEAN.decode()).clean


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (8, "** The volume /dev/rdisk5s1 was found to be corrupt and needs to be repaired.\n"),
        (0, "** The volume /dev/rdisk5s1 was found to be corrupt and needs to be repaired.\n"),
        (0, "error: btn: invalid btn_btree.bt_key_count (expected 4864041, actual 4864092)\n"),
        (0, "** The volume /dev/rdisk1s1 could not be verified completely.\n"),
        (8, ""),
    ],
)
def test_a_complaint_counts_by_the_status_and_by_the_words(status: int, said: str) -> None:
    report = fsck_report(status, CLEAN.decode() + said)

    assert not report.clean
    assert said in report.output


@pytest.mark.parametrize("said", ["Resource busy", "Permission denied", "Operation not permitted"])
def test_a_check_that_could_not_look_is_no_verdict(said: str) -> None:
    with pytest.raises(RigError, match="could not look"):
        fsck_report(66, f"error: failed to open /dev/rdisk4s1: {said}\n")
