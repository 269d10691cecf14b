"""The packages that a guest is made from: what is missing, what apt tells, and what arrives."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.guest.build.packages import (
    PROGRAMS,
    DebianPackage,
    GuestPackages,
    known_parts,
    missing_programs,
    remembered_parts,
    state_of_apt,
    unpack,
)
from tests.rig.guest.build.test_cache import parts_of

# What is missing


DEBIAN = {"ID": "debian", "VERSION_ID": "12"}


def test_every_missing_program_is_named_with_its_package() -> None:
    said = missing_programs(
        lambda _: None, lambda _: None, system="linux", machine="x86_64", release=DEBIAN
    )

    assert said == [
        *(f"The program {name} is not installed (package {deb})." for name, deb in PROGRAMS),
        "The program gcc-12 is not installed (package gcc-12).",
        "The library libelf is not installed (package libelf1).",
    ]


def test_one_missing_program_is_named_alone() -> None:
    def find(name: str) -> str | None:
        return None if name == "gcc-12" else f"/usr/bin/{name}"

    said = missing_programs(
        find, lambda _: "libelf.so.1", system="linux", machine="x86_64", release=DEBIAN
    )
    assert said == ["The program gcc-12 is not installed (package gcc-12)."]


def test_each_release_has_its_compiler_and_another_system_is_named() -> None:
    def said(release: dict[str, str]) -> list[str]:
        def find(name: str) -> str | None:
            return None if name.startswith("gcc") else name

        return missing_programs(
            find, lambda _: "libelf.so.1", system="linux", machine="x86_64", release=release
        )

    assert said({"ID": "debian", "VERSION_ID": "13"}) == [
        "The program gcc-14 is not installed (package gcc-14)."
    ]
    for other in ({"ID": "ubuntu", "VERSION_ID": "12"}, {"ID": "debian", "VERSION_ID": "11"}, {}):
        named = {**other, "PRETTY_NAME": "Some System"}
        (sentence,) = said(named)
        assert "Debian 12 (with gcc-12) or 13 (with gcc-14), and this is Some System" in sentence


def test_elsewhere_than_on_linux_on_x86_64_that_is_all_that_is_said() -> None:
    assert missing_programs(system="darwin", machine="arm64") == [
        "The guest needs Linux on x86_64 and this is darwin on arm64."
    ]


# Packages, as apt tells of them

DEPENDS = {
    "linux-image-amd64": "linux-image-amd64\n  Depends: linux-image-6.1.0-7-amd64\n",
    "linux-headers-6.1.0-7-amd64": (
        "linux-headers-6.1.0-7-amd64\n  Depends: linux-headers-6.1.0-7-common\n"
        "  Depends: linux-kbuild-6.1\n  Depends: linux-compiler-gcc-12-x86\n"
    ),
}


def apt(arguments: Sequence[str], folder: Path | None) -> str:
    if arguments[0] == "apt-cache":
        return DEPENDS[arguments[2]]
    assert arguments[:3] == ("apt-get", "download", "--print-uris")
    return "".join(
        f"'place/{n}.deb' {n}_6%3a1_amd64.deb {len(n)} {sha256(n)}\n" for n in arguments[3:]
    )


def sha256(text: str) -> str:
    return f"SHA256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_the_parts_are_the_kernel_that_apt_names_and_what_compiles_for_it() -> None:
    parts = known_parts(apt, str)

    assert parts.release == "6.1.0-7-amd64"
    assert [package.name for package in parts.packages] == [
        "linux-image-6.1.0-7-amd64",
        "linux-headers-6.1.0-7-amd64",
        "linux-headers-6.1.0-7-common",
        "linux-kbuild-6.1",
        "apfs-dkms",
    ]
    last = DebianPackage("apfs-dkms", "apfs-dkms_6%3a1_amd64.deb", 9, sha256("apfs-dkms"))
    assert parts.packages[-1] == last
    assert last.exact == "apfs-dkms=6:1"


@pytest.mark.parametrize("wrong", ["", "linux-image-amd64\n  Depends: something-else\n"])
def test_an_apt_that_knows_no_kernel_says_what_to_do(wrong: str) -> None:
    with pytest.raises(RigUnavailable, match="apt-get update"):
        known_parts(lambda arguments, folder: wrong)


def test_a_kernel_for_a_compiler_that_is_not_here_names_it() -> None:
    with pytest.raises(RigUnavailable, match="for the compiler gcc-12, and that is not") as caught:
        known_parts(apt, lambda name: None)
    assert "apt-get update" not in str(caught.value)


def test_a_package_that_apt_does_not_have_is_named() -> None:
    def without_driver(arguments: Sequence[str], folder: Path | None) -> str:
        kept = [word for word in arguments if word != "apfs-dkms"]
        return apt(tuple(kept), folder)

    with pytest.raises(RigUnavailable, match="apfs-dkms"):
        known_parts(without_driver, str)


def test_a_failed_download_is_a_reason_not_to_run(tmp_path: Path) -> None:
    def no_network(arguments: Sequence[str], folder: Path | None) -> str:
        raise RigError("Could not resolve the mirror")

    with pytest.raises(RigUnavailable, match="Could not resolve the mirror"):
        known_parts(apt, str).fetch(tmp_path, no_network)


def test_a_download_that_brings_too_little_is_a_reason_too(tmp_path: Path) -> None:
    with pytest.raises(RigUnavailable, match="0 of 5 packages arrived"):
        known_parts(apt, str).fetch(tmp_path, lambda arguments, folder: "")


class Mirror:
    """An apt that brings files with their packages' names as content; `unpacked` are those used."""

    def __init__(self, **others: str) -> None:
        self.asked: list[str] = []
        self.unpacked: list[str] = []
        self._others = others

    def __call__(self, arguments: Sequence[str], folder: Path | None) -> str:
        if arguments[0] == "dpkg":
            self.unpacked.append(arguments[2])
            return ""
        assert folder is not None
        for exact in arguments[2:]:
            self.asked.append(exact)
            name = exact.partition("=")[0]
            content = self._others.get(name.replace("-", "_"), name)
            (folder / f"{name}_6%3a1_amd64.deb").write_text(content)
        for name in self._others.get("more", "").split():
            (folder / name).write_text("")
        return ""


def without_kernel() -> GuestPackages:
    parts = known_parts(apt, str)
    return GuestPackages(parts.release, parts.packages[1:])


def test_each_package_is_asked_for_by_its_version(tmp_path: Path) -> None:
    mirror = Mirror()
    without_kernel().fetch(tmp_path, mirror)

    assert mirror.asked[-1] == "apfs-dkms=6:1"
    assert len(mirror.unpacked) == 4


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({"apfs_dkms": "apfs-dkmX"}, "and apt's lists say SHA256"),
        ({"apfs_dkms": "longer than it"}, "has 14 B and apt's lists say 9"),
        ({"more": "apfs-dkms_7_amd64.deb"}, r"apfs-dkms_7_amd64\.deb arrived, which nobody asked"),
    ],
)
def test_a_package_other_than_apt_listed_is_refused_and_none_is_unpacked(
    others: dict[str, str], why: str, tmp_path: Path
) -> None:
    mirror = Mirror(**others)
    with pytest.raises(RigUnavailable, match=why):
        without_kernel().fetch(tmp_path, mirror)
    assert mirror.unpacked == []


def test_packages_that_are_far_too_large_are_not_even_asked_for(tmp_path: Path) -> None:
    mirror = Mirror()
    huge = DebianPackage("x", "x_1_all.deb", 1 << 40, sha256("x"))
    with pytest.raises(RigUnavailable, match="more than any kernel's"):
        GuestPackages("6.1", (huge,)).fetch(tmp_path, mirror)
    assert mirror.asked == []


def test_a_list_without_sha256_is_refused() -> None:
    def weak(arguments: Sequence[str], folder: Path | None) -> str:
        return apt(arguments, folder).replace("SHA256:", "MD5Sum:")

    with pytest.raises(RigUnavailable, match="no SHA-256 for linux-image-6"):
        known_parts(weak, str)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb makes the package")
def test_of_the_kernels_package_only_what_a_guest_uses_is_unpacked(tmp_path: Path) -> None:
    wanted, modules = known_parts(apt, str).wanted, "lib/modules/6.1.0-7-amd64/kernel"
    tree = tmp_path / "deb"
    kept = {f"{modules}/fs/ext4/ext4.ko": b"E" * 5000, "boot/vmlinuz-6.1.0-7-amd64": b"K"}
    kept["lib/modules/6.1.0-7-amd64/modules.builtin"] = b"B"
    left = {f"{modules}/fs/xfs/xfs.ko": b"X", "boot/config-6.1.0-7-amd64": b"C"}
    control = "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    for path, content in {**kept, **left, "DEBIAN/control": control.encode()}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
    deb = tmp_path / "x.deb"
    subprocess.run(["dpkg-deb", "--build", tree, deb], check=True, capture_output=True, timeout=60)

    unpack(deb, tmp_path / "root", wanted)

    found = [path for path in (tmp_path / "root").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "root")): path.read_bytes() for path in found} == kept


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb reads packages")
def test_a_package_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"nonsense")
    with pytest.raises(tarfile.TarError):
        unpack(tmp_path / "x.deb", tmp_path, lambda path: True)


def test_apt_is_asked_again_only_when_its_lists_have_changed(tmp_path: Path) -> None:
    lists = tmp_path / "var/lib/apt/lists"
    lists.mkdir(parents=True)
    asked: list[str] = []

    def ask() -> GuestPackages:
        asked.append("")
        return parts_of(str(len(asked)))

    def remembered() -> GuestPackages:
        return remembered_parts(tmp_path / "cache", ask, state_of_apt(tmp_path))

    assert remembered() == remembered() == parts_of("1")
    (lists / "Packages").write_text("newer")
    assert remembered() == remembered() == parts_of("2")
    (tmp_path / "cache/packages.json").write_text("{}")
    assert remembered() == parts_of("3")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["packages.json"]
