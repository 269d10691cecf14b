"""What lies under a Linux file system, told from a /sys that a test has made."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.backends import linux, linux_devices
from lastgood.backends.linux_mounts import Mount, mount_under

FLUSHES = "if the drive honours cache flushes"


@pytest.fixture
def sys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /sys with the disk vda, its first partition, and nothing that has a journal."""
    monkeypatch.setattr(linux, "device_weakness", linux_devices.device_weakness)
    monkeypatch.setattr(linux_devices, "SYS", str(tmp_path / "sys"))
    monkeypatch.setattr(linux_devices, "JOURNALS", str(tmp_path / "jbd2"))
    monkeypatch.setattr(linux_devices, "EXT4", str(tmp_path / "ext4"))
    device(tmp_path / "sys", "vda", "254:0")
    device(tmp_path / "sys", "vda/vda1", "254:1", partition="1")
    return tmp_path / "sys"


def device(sys: Path, path: str, number: str, **files: str) -> None:
    """A block device, with files in its folder; `__` in a file's name stands for a folder."""
    home = sys / "devices" / path
    for name, text in {"dev": number, **files}.items():
        file = home / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    for link in (sys / "dev/block" / number, sys / "class/block" / home.name):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(home)


def journal(sys: Path, name: str, task: str) -> None:
    """An ext4 whose options are shown, and say nothing against it."""
    home = sys / "fs/ext4" / name
    home.mkdir(parents=True)
    (home / "journal_task").write_text(task + "\n")
    show_options(sys, name)


def show_options(sys: Path, name: str) -> None:
    """The options of an ext4, as the kernel shows them to anybody."""
    file = sys.parent / "ext4" / name / "options"
    file.parent.mkdir(parents=True)
    file.write_text("rw\nbarrier\ndata=ordered\n")


def mount(kind: str, number: str, source: str = "/dev/none") -> Mount:
    return Mount(kind, "/", frozenset({"rw"}), number, source)


def note(found: Mount) -> tuple[str, str]:
    traits = linux.traits_of(found)
    return traits.sync_serves, traits.note


def test_ext4_with_a_journal_on_a_disk_is_promised_a_power_cut(sys: Path) -> None:
    journal(sys, "vda1", "17")

    assert note(mount("ext4", "254:1")) == ("power", FLUSHES)


FC_INFO = "fc stats:\n{} commits\n{} ineligible\n0 numblks\n436us avg_commit_time\n"
REASONS = 'Ineligible reasons:\n"Cross rename":\t0\n"Dir renamed":\t0\n'


@pytest.mark.parametrize(
    ("commits", "ineligible", "options", "refuted"),
    [
        (0, 0, "rw\nbarrier\n", False),
        (1, 0, "rw\nbarrier\n", True),
        (0, 12, "rw\nbarrier\n", True),
        (0, 0, "rw\nfc_debug_force\nbarrier\n", True),
        (0, 0, "rw\nno_fc_debug_force\n", False),
    ],
)
def test_ext4_that_makes_fast_commits_is_known_by_its_counters_or_its_options_and_is_weak(
    sys: Path, commits: int, ineligible: int, options: str, refuted: bool
) -> None:
    journal(sys, "vda1", "17")
    shown = sys.parent / "ext4/vda1"
    (shown / "fc_info").write_text(FC_INFO.format(commits, ineligible) + REASONS)
    (shown / "options").write_text(options)
    traits = linux.traits_of(mount("ext4", "254:1"))

    assert traits.sync_serves == ("process" if refuted else "power")
    assert ("with tune2fs -O ^fast_commit" in traits.weakness) == refuted
    assert traits.note == (traits.weakness or FLUSHES)
    assert linux.traits_of(mount("xfs", "254:1")).weakness == ""


@pytest.mark.parametrize(
    ("table", "options", "refuted"),
    [
        ("rw", "rw\ndata=ordered\n", False),
        ("rw", "rw\ndata=journal\n", False),
        ("rw", "rw\ndata=writeback\n", True),
        ("rw,data=writeback", "", True),
        ("rw,data=writeback", "rw\ndata=writeback\n", True),
    ],
)
def test_ext4_with_data_writeback_is_weak_whoever_shows_it(
    sys: Path, table: str, options: str, refuted: bool
) -> None:
    """As the default of a volume it is not in the mount table."""
    journal(sys, "vda1", "17")
    (sys.parent / "ext4/vda1/options").write_text(options)
    traits = linux.traits_of(Mount("ext4", "/", frozenset(table.split(",")), "254:1", "/dev/none"))

    assert traits.sync_serves == ("process" if refuted else "power")
    assert ("can bring back a file that an fsync had kept" in traits.weakness) == refuted
    assert traits.weakness.count("data=writeback") == refuted
    assert traits.note == (traits.weakness or FLUSHES)


def hide_options(sys: Path, how: str) -> None:
    """Hide them in one of the ways of a container."""
    file = sys.parent / "ext4/vda1/options"
    file.unlink()
    if how == "all of /proc/fs/ext4":
        file.parent.rmdir()
        file.parent.parent.rmdir()
    elif how == "an empty file over it":
        file.touch()
    elif how == "refused":
        file.mkdir()  # root may read every file, and no directory


@pytest.mark.parametrize(
    "how", ["all of /proc/fs/ext4", "the file", "an empty file over it", "refused"]
)
def test_ext4_whose_options_are_hidden_is_promised_no_power_cut_and_it_says_how_to_show_them(
    sys: Path, how: str
) -> None:
    """Neither /sys nor the mount table says whether it has fast_commit or data=writeback."""
    journal(sys, "vda1", "17")
    hide_options(sys, how)
    traits = linux.traits_of(mount("ext4", "254:1"))

    assert traits.sync_serves == "process"
    assert traits.note == traits.weakness
    assert traits.weakness == (
        "whether this ext4 has fast_commit or data=writeback cannot be told "
        f"({sys.parent}/ext4/vda1/options cannot be read). "
        "Mount /proc so that it shows more than processes: without subset=pid, "
        "and for a unit of systemd with ProcSubset=all"
    )
    for kind in ("xfs", "btrfs", "nilfs2"):
        assert note(mount(kind, "254:1", "vda1")) == ("power", FLUSHES)


def test_what_is_known_of_an_ext4_is_said_though_its_options_are_hidden(sys: Path) -> None:
    journal(sys, "vda1", "17")
    hide_options(sys, "the file")
    (sys.parent / "ext4/vda1/fc_info").write_text(FC_INFO.format(1, 0))
    assert "with tune2fs -O ^fast_commit" in note(mount("ext4", "254:1"))[1]

    (sys / "fs/ext4/vda1/journal_task").write_text("<none>\n")
    assert "this ext4 has no journal" in note(mount("ext4", "254:1"))[1]


def test_a_kernel_that_shows_no_counters_says_nothing_of_fast_commits(sys: Path) -> None:
    journal(sys, "vda1", "17")

    assert linux.traits_of(mount("ext4", "254:1")).weakness == ""
    assert "fast_commit" not in linux.traits_of(mount("ext4", "9:9")).weakness


def test_an_old_kernel_shows_a_journal_elsewhere(sys: Path) -> None:
    (sys.parent / "jbd2" / "vda1-8").mkdir(parents=True)
    show_options(sys, "vda1")

    assert note(mount("ext4", "254:1")) == ("power", FLUSHES)


@pytest.mark.parametrize("number", ["254:0", "254:1", "9:9"])
def test_where_it_cannot_be_told_whether_there_is_a_journal_that_is_said(
    sys: Path, number: str
) -> None:
    serves, said = note(mount("ext4", number))

    assert serves == "process"
    assert said == "whether this ext4 has a journal cannot be told (/sys does not show it)"


def test_where_a_device_is_hidden_the_promise_says_what_it_hangs_on(sys: Path) -> None:
    serves, said = note(mount("xfs", "9:9"))

    assert serves == "power"
    assert said == f"{FLUSHES} and if it is no device in memory, which " + linux_devices._UNTOLD


@pytest.mark.parametrize("name", ["zram0", "ram1"])
def test_a_device_in_memory_survives_nothing(sys: Path, name: str) -> None:
    device(sys, name, "7:7")
    journal(sys, name, "17")

    assert note(mount("ext4", "7:7"))[0] == "process"
    assert "lives in memory" in note(mount("xfs", "7:7"))[1]


def test_a_mapped_device_over_a_partition_of_a_loop_device_is_followed(
    sys: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.touch()
    device(sys, "loop3", "7:3", loop__backing_file=str(image))
    device(sys, "loop3/loop3p1", "259:1", partition="1")
    device(sys, "dm-0", "253:0", slaves__loop3p1="", dm__name="luks-x")
    here = linux._weakness_under(str(image))

    serves, said = note(mount("xfs", "253:0"))
    assert (serves == "process") == bool(here)
    if here:
        assert said == f"its device loop3 is the file {str(image)!r}, and of that: {here}"
    # btrfs is known by the node that was mounted, also by one that is not to be seen here.
    assert note(mount("btrfs", "0:40", "/dev/mapper/luks-x")) == (serves, said)
    image.unlink()
    serves, said = note(mount("btrfs", "0:40", "/dev/mapper/luks-x"))
    assert serves == "process"
    assert f"cannot be seen from here ({str(image)!r})" in said


def test_a_loop_device_that_names_no_file_promises_nothing_more_than_the_process(sys: Path) -> None:
    device(sys, "loop3", "7:3")

    assert note(mount("xfs", "7:3")) == (
        "process",
        "its device loop3 is made of a file that cannot be seen from here",
    )


def test_every_device_of_a_btrfs_counts(sys: Path) -> None:
    device(sys, "zram0", "252:0")
    for name in ("vda1", "zram0"):
        (sys / "fs/btrfs/some-id/devices" / name).mkdir(parents=True)

    assert note(mount("btrfs", "0:40", "vda1"))[0] == "process"
    assert note(mount("btrfs", "0:40", "vda")) == ("power", FLUSHES)


def test_devices_that_lie_on_themselves_end_somewhere(sys: Path) -> None:
    device(sys, "dm-1", "253:1", slaves__dm_1="")
    (sys / "devices/dm-1/slaves/dm_1").rename(sys / "devices/dm-1/slaves/dm-1")

    assert "what is below its device dm-1 cannot be told" in note(mount("xfs", "253:1"))[1]


def test_what_does_not_exist_yet_will_be_on_the_mount_of_its_nearest_directory(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()

    here = mount_under(str(tmp_path))
    assert here is not None
    assert mount_under(str(tmp_path / "a" / "b")) == here
    assert mount_under(str(tmp_path / "file" / "b")) == here
    proc = mount_under("/proc/self")
    assert proc is not None
    assert (proc.kind, proc.point) == ("proc", "/proc")
