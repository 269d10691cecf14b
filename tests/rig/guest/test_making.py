"""How a guest is made, without making one: the edit, the kernel, the archive, the cache, apt."""

from __future__ import annotations

import lzma
import os
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.guest import initramfs
from powercut_rig.guest.edit import STRICT, Edit, edit_folder, edited
from powercut_rig.guest.kernel import vmlinux_of
from powercut_rig.guest.packages import (
    PROGRAMS,
    Package,
    Parts,
    known_parts,
    missing_programs,
    remembered_parts,
    state_of_apt,
    unpack,
)
from powercut_rig.guest.prepare import KEPT, cache_folder, key_of, prepare

# The edit


def sources() -> dict[str, str]:
    found: dict[str, str] = {}
    for edit in STRICT:
        found[edit.path] = found.get(edit.path, "/* before */\n") + edit.before + "/* after */\n"
    return found


def test_every_edit_is_made_and_nothing_else_changes() -> None:
    made = edited(sources())

    for edit in STRICT:
        assert edit.after in made[edit.path]
    undone = dict(made)
    for edit in STRICT:
        undone[edit.path] = undone[edit.path].replace(edit.after, edit.before)
    assert undone == sources()


def test_the_superblock_stands_between_two_flushes_and_each_block_is_waited_for() -> None:
    text = edited(sources())["transaction.c"]

    assert text.count("blkdev_issue_flush") == 2
    assert text.index("wait_on_buffer") < text.index("blkdev_issue_flush")
    assert text.index("blkdev_issue_flush") < text.index("apfs_obj_set_csum")
    assert text.rindex("blkdev_issue_flush") > text.index("sync_dirty_buffer")


@pytest.mark.parametrize("edit", STRICT, ids=lambda edit: edit.path)
@pytest.mark.parametrize("times", [0, 2])
def test_a_pattern_that_is_not_there_exactly_once_is_refused(edit: Edit, times: int) -> None:
    changed = sources()
    changed[edit.path] = changed[edit.path].replace(edit.before, edit.before * times)

    with pytest.raises(RigUnavailable, match=rf"{edit.path} .* occur {times} times"):
        edited(changed)


def test_a_driver_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RigUnavailable, match=r"has no transaction\.c"):
        edit_folder(tmp_path)


def test_a_folder_is_edited_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    for path, text in sources().items():
        (tmp_path / path).write_text(text)
    (tmp_path / "inode.c").write_text("another version")
    before = (tmp_path / "transaction.c").read_text()

    with pytest.raises(RigUnavailable):
        edit_folder(tmp_path)
    assert (tmp_path / "transaction.c").read_text() == before


# The kernel


def bz_image(payload: bytes, setup_sectors: int = 3) -> bytes:
    head = bytearray((setup_sectors + 1) * 512)
    head[0x1F1] = setup_sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + bytes(16) + payload + b"what follows"


ELF = b"\x7fELF" + bytes(5000)


def test_the_kernel_is_taken_out_of_its_image() -> None:
    packed = lzma.compress(ELF, lzma.FORMAT_XZ) + struct.pack("<I", len(ELF))
    assert vmlinux_of(bz_image(packed)) == ELF


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (b"", "no Linux boot header"),
        (bytes(4096), "no Linux boot header"),
        (bz_image(b"\x04\x22\x4d\x18" + bytes(99)), "not in XZ"),
        (bz_image(lzma.compress(ELF))[:600], "cut short"),
        (bz_image(lzma.compress(ELF)[:-30]), "no ELF kernel"),
        (bz_image(lzma.compress(b"text" * 99)), "no ELF kernel"),
        (bz_image(b"\xfd7zXZ\0" + b"\xff" * 60), "damaged"),
    ],
)
def test_an_image_that_is_not_understood_is_refused(image: bytes, why: str) -> None:
    with pytest.raises(RigUnavailable, match=why):
        vmlinux_of(image)


# The first file system

names = st.text("abcdef.-_", min_size=1, max_size=9)


def unpacked(data: bytes) -> list[tuple[str, int, bytes]]:
    """A reader of the format by its definition, apart from the writer."""
    found: list[tuple[str, int, bytes]] = []
    place = 0
    while True:
        assert data[place : place + 6] == b"070701"
        fields = [int(data[place + 6 + 8 * i : place + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_bytes = fields[1], fields[6], fields[11]
        name = data[place + 110 : place + 110 + name_bytes - 1].decode()
        body = place + 110 + name_bytes
        body += -body % 4
        if name == "TRAILER!!!":
            return found
        found.append((name, mode, data[body : body + size]))
        place = body + size
        place += -place % 4


@given(st.dictionaries(names, st.binary(max_size=99), max_size=6))
def test_an_archive_holds_each_file_with_its_bytes(files: dict[str, bytes]) -> None:
    packed = initramfs.archive(initramfs.file(name, body) for name, body in files.items())

    assert len(packed) % 4 == 0
    assert unpacked(packed) == [(name, 0o100644, body) for name, body in files.items()]


def test_the_archives_hold_what_init_asks_for() -> None:
    base = initramfs.base_archive(b"BB", {"nfit": b"V", "late": b"L"}, ["nfit"])
    python = {"/usr/bin/python3": b"P", "/usr/lib/x/os.pyc": b"O"}
    boot = initramfs.at_boot(b"agent", "/usr/bin/python3", ["/a b"], python)
    entries = (*unpacked(base), *unpacked(boot))
    files = {name: body for name, _, body in entries}
    folders = [name for name, mode, _ in entries if mode == 0o040755]

    assert files["modules/nfit.ko"] == b"V"
    assert files["modules/late.ko"] == b"L"
    assert files["load"].split() == [b"nfit"]
    assert files["paths"] == b'["/a b"]'
    assert files["usr/bin/python3"] == b"P"
    for path in ("/load", "/python", "/agent.py", "/bin/busybox"):
        assert path in initramfs.INIT
        assert path[1:] in files
    # A folder comes before what is in it, or the kernel leaves the file out.
    assert [*folders[-4:]] == ["usr", "usr/bin", "usr/lib", "usr/lib/x"]
    for place in ("proc", "sys", "dev", "mnt"):
        assert place in folders


def test_init_is_a_script_that_a_shell_understands() -> None:
    done = subprocess.run(
        ["sh", "-n"], input=initramfs.INIT, text=True, capture_output=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def module(*needed: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(needed).encode() + b"\0name=x\0"


def test_modules_come_after_what_they_need_and_what_is_built_in_is_left_out() -> None:
    every = {"a": module("b", "c-d"), "b": module("c_d", "builtin"), "c_d": module(), "e": b"ELF"}

    order = initramfs.in_load_order(["a", "e", "b"], every.get)

    assert list(order) == ["c_d", "b", "a", "e"]
    assert order["b"] == every["b"]


def test_the_memory_disk_is_found_before_it_is_driven() -> None:
    assert initramfs.BASE_MODULES.index("nfit") < initramfs.BASE_MODULES.index("nd_pmem")
    assert not {*initramfs.BASE_MODULES} & {*initramfs.LATER_MODULES}


def test_modules_that_need_each_other_are_refused() -> None:
    every = {"a": module("b"), "b": module("a")}
    with pytest.raises(RigUnavailable, match="a b a"):
        initramfs.in_load_order(["a"], every.get)


# What is missing


def test_every_missing_program_is_named_with_its_package() -> None:
    said = missing_programs(lambda _: None, lambda _: None, system="linux", machine="x86_64")

    assert said == [
        *(f"The program {name} is not installed (package {deb})." for name, deb in PROGRAMS),
        "The library libelf is not installed (package libelf1).",
    ]


def test_one_missing_program_is_named_alone() -> None:
    def find(name: str) -> str | None:
        return None if name == "gcc-12" else f"/usr/bin/{name}"

    said = missing_programs(find, lambda _: "libelf.so.1", system="linux", machine="x86_64")
    assert said == ["The program gcc-12 is not installed (package gcc-12)."]


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
    return "".join(f"'place/{n}.deb' {n}_6.1_amd64.deb 99 SHA256:{n}\n" for n in arguments[3:])


def test_the_parts_are_the_kernel_that_apt_names_and_what_compiles_for_it() -> None:
    parts = known_parts(apt)

    assert parts.release == "6.1.0-7-amd64"
    assert [package.name for package in parts.packages] == [
        "linux-image-6.1.0-7-amd64",
        "linux-headers-6.1.0-7-amd64",
        "linux-headers-6.1.0-7-common",
        "linux-kbuild-6.1",
        "apfs-dkms",
    ]
    assert parts.packages[-1] == Package("apfs-dkms", "apfs-dkms_6.1_amd64.deb", "SHA256:apfs-dkms")


@pytest.mark.parametrize("wrong", ["", "linux-image-amd64\n  Depends: something-else\n"])
def test_an_apt_that_knows_no_kernel_says_what_to_do(wrong: str) -> None:
    with pytest.raises(RigUnavailable, match="apt-get update"):
        known_parts(lambda arguments, folder: wrong)


def test_a_package_that_apt_does_not_have_is_named() -> None:
    def without_driver(arguments: Sequence[str], folder: Path | None) -> str:
        kept = [word for word in arguments if word != "apfs-dkms"]
        return apt(tuple(kept), folder)

    with pytest.raises(RigUnavailable, match="apfs-dkms"):
        known_parts(without_driver)


def test_a_failed_download_is_a_reason_not_to_run(tmp_path: Path) -> None:
    def no_network(arguments: Sequence[str], folder: Path | None) -> str:
        raise RigError("Could not resolve the mirror")

    with pytest.raises(RigUnavailable, match="Could not resolve the mirror"):
        known_parts(apt).fetch(tmp_path, no_network)


def test_a_download_that_brings_too_little_is_a_reason_too(tmp_path: Path) -> None:
    with pytest.raises(RigUnavailable, match="0 of 5 packages arrived"):
        known_parts(apt).fetch(tmp_path, lambda arguments, folder: "")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb makes the package")
def test_of_the_kernels_package_only_what_a_guest_uses_is_unpacked(tmp_path: Path) -> None:
    wanted, modules = known_parts(apt).wanted, "lib/modules/6.1.0-7-amd64/kernel"
    tree = tmp_path / "deb"
    kept = {f"{modules}/fs/ext4/ext4.ko": b"E" * 5000, "boot/vmlinuz-6.1.0-7-amd64": b"K"}
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

    def ask() -> Parts:
        asked.append("")
        return parts_of(str(len(asked)))

    def remembered() -> Parts:
        return remembered_parts(tmp_path / "cache", ask, state_of_apt(tmp_path))

    assert remembered() == remembered() == parts_of("1")
    (lists / "Packages").write_text("newer")
    assert remembered() == remembered() == parts_of("2")
    (tmp_path / "cache/packages.json").write_text("{}")
    assert remembered() == parts_of("3")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["packages.json"]


# The cache


def parts_of(*digests: str) -> Parts:
    return Parts("6.1", tuple(Package(f"p{d}", f"p{d}_1_all.deb", d) for d in digests))


def make(parts: Parts, work: Path, result: Path) -> None:
    assert work.is_dir()
    (result / "vmlinux").write_text(parts.release)


def never(parts: Parts, work: Path, result: Path) -> None:
    pytest.fail("made again")


def test_the_key_changes_with_every_package_and_with_nothing_else() -> None:
    assert key_of(parts_of("a", "b")) == key_of(parts_of("a", "b"))
    assert len({key_of(parts_of(*digests)) for digests in (("a", "b"), ("a", "c"), ("a",))}) == 3


def test_the_key_changes_with_the_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from powercut_rig.guest import edit

    before = key_of(parts_of("a"))
    other = tmp_path / "edit.py"
    other.write_bytes(Path(edit.__file__).read_bytes() + b"\n# changed\n")
    monkeypatch.setattr(edit, "__file__", str(other))
    assert key_of(parts_of("a")) != before


def test_a_guest_is_made_once(tmp_path: Path) -> None:
    first = prepare(parts_of("a"), tmp_path, make)
    second = prepare(parts_of("a"), tmp_path, never)

    assert first == second
    assert first.vmlinux.read_text() == "6.1"


def test_a_guest_that_could_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail(parts: Parts, work: Path, result: Path) -> None:
        (result / "vmlinux").write_text("half")
        raise RigUnavailable(["the compiler said no"])

    with pytest.raises(RigUnavailable, match="the compiler said no"):
        prepare(parts_of("a"), tmp_path, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert prepare(parts_of("a"), tmp_path, make).vmlinux.exists()


def test_what_a_killed_run_left_is_removed_and_old_guests_with_it(tmp_path: Path) -> None:
    (tmp_path / "building-dead").mkdir()
    made = []
    for number in range(KEPT + 3):
        guest = prepare(parts_of(str(number)), tmp_path, make)
        os.utime(guest.vmlinux.parent, (number, number))
        made.append(guest.vmlinux.parent)

    assert [path for path in made if path.is_dir()] == made[-KEPT - 1 :]
    assert not (tmp_path / "building-dead").exists()


def test_a_cache_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RigUnavailable, match="XDG_CACHE_HOME"):
        prepare(parts_of("a"), tmp_path / "file" / "below", make)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/powercut-rig")
