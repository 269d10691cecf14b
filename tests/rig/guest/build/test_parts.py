"""How a guest is made, without making one: the edit, the kernel, the archive, modules."""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powercut_rig.errors import RigUnavailable
from powercut_rig.guest.build import initramfs
from powercut_rig.guest.build.driver_patch import STRICT_EDITS, SourceEdit, apply_edits, edit_folder
from powercut_rig.guest.build.kernel import vmlinux_of
from powercut_rig.guest.build.kernel_modules import KernelModules, unpacked_modules

# The edit


def sources() -> dict[str, str]:
    found: dict[str, str] = {}
    for edit in STRICT_EDITS:
        found[edit.path] = found.get(edit.path, "/* before */\n") + edit.before + "/* after */\n"
    return found


def test_every_edit_is_made_and_nothing_else_changes() -> None:
    made = apply_edits(sources())

    for edit in STRICT_EDITS:
        assert edit.after in made[edit.path]
    undone = dict(made)
    for edit in STRICT_EDITS:
        undone[edit.path] = undone[edit.path].replace(edit.after, edit.before)
    assert undone == sources()


def test_the_superblock_stands_between_two_flushes_and_each_block_is_waited_for() -> None:
    text = apply_edits(sources())["transaction.c"]

    assert text.count("blkdev_issue_flush") == 2
    assert text.index("wait_on_buffer") < text.index("blkdev_issue_flush")
    assert text.index("blkdev_issue_flush") < text.index("apfs_obj_set_csum")
    assert text.rindex("blkdev_issue_flush") > text.index("sync_dirty_buffer")


@pytest.mark.parametrize("edit", STRICT_EDITS, ids=lambda edit: edit.path)
@pytest.mark.parametrize("times", [0, 2])
def test_a_pattern_that_is_not_there_exactly_once_is_refused(edit: SourceEdit, times: int) -> None:
    changed = sources()
    changed[edit.path] = changed[edit.path].replace(edit.before, edit.before * times)

    with pytest.raises(RigUnavailable, match=rf"{edit.path} .* occur {times} times"):
        apply_edits(changed)


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
    boot = initramfs.boot_archive(b"agent", "/usr/bin/python3", ["/a b"], python)
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


def kernel_with(root: Path, files: dict[str, bytes], built_in: str = "") -> KernelModules:
    folder = root / "lib/modules/6.1/kernel/fs"
    folder.mkdir(parents=True)
    (folder.parents[1] / "modules.builtin").write_text(built_in)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return unpacked_modules(root, "6.1")


def test_modules_are_read_however_they_are_compressed(tmp_path: Path) -> None:
    body = module("x") * 99
    packed = {"a-b.ko": body, "c.ko.xz": lzma.compress(body), "d.ko.gz": gzip.compress(body)}
    found = kernel_with(tmp_path, packed, "kernel/lib/crc-x.ko\n")

    assert [found.read(name, Path.read_bytes) for name in ("a_b", "c", "d")] == [body] * 3
    assert found.read("crc_x", Path.read_bytes) is None


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "has no module virtio_pci, which"),
        ({"virtio_pci.ko.zst": b"Z"}, r"virtio_pci\.ko\.zst is compressed in a way"),
        ({"virtio_pci.ko.xz": b"not such a file"}, "is damaged"),
        ({"virtio_pci.ko.gz": b"not"}, "is damaged"),
        ({"virtio_pci.ko.xz": lzma.compress(bytes(999))[:-9]}, "cut short"),
    ],
)
def test_a_module_that_is_not_there_or_not_read_is_named(
    files: dict[str, bytes], why: str, tmp_path: Path
) -> None:
    with pytest.raises(RigUnavailable, match=why):
        kernel_with(tmp_path, files, "kernel/fs/ext4.ko").read("virtio_pci", Path.read_bytes)


def test_a_kernel_that_does_not_tell_what_is_built_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RigUnavailable, match=r"modules\.builtin"):
        unpacked_modules(tmp_path, "6.1")


def test_modules_that_need_each_other_are_refused() -> None:
    every = {"a": module("b"), "b": module("a")}
    with pytest.raises(RigUnavailable, match="a b a"):
        initramfs.in_load_order(["a"], every.get)
