"""The words of a save of two parts, and the requests below it. Times in microseconds."""

from __future__ import annotations

from powercut_lab.observe.layers import DiskRequest
from powercut_lab.observe.save_program import Told, ToldStep
from powercut_rig.system.ptrace import WatchedCall

STORE = "/mnt/store"
BEGIN_NS = 1_000_000_000


def ns(at_us: float) -> int:
    return BEGIN_NS + round(at_us * 1000)


def step(name: str, path: str, content: str, begin: float, end: float) -> ToldStep:
    return ToldStep(name, path, content, ns(begin), ns(end))


def call(name: str, file: str, begin: float, end: float, size: int = 0) -> WatchedCall:
    return WatchedCall(name, file, size, ns(begin), ns(end), 0)


def write(at: float, size: int = 4096) -> DiskRequest:
    return DiskRequest(False, ns(at), size, 8192)


def flush(at: float) -> DiskRequest:
    return DiskRequest(True, ns(at))


TOLD = Told(
    form="record",
    file_system="ext4",
    begin_ns=BEGIN_NS,
    end_ns=ns(1000),
    quiet_ns=ns(2000),
    wall_begin_s=0.0,
    steps=(
        step("mkdir", "g", "", 10, 20),
        step("create", "g/.tmp1", "", 20, 30),
        step("create", "g/b.bin", "", 30, 40),
        step("write", "g/.tmp1", "a.bin", 40, 100),
        step("write", "g/b.bin", "b.bin", 100, 200),
        step("fsync", "g/.tmp1", "a.bin", 200, 500),
        step("fsync", "g/b.bin", "b.bin", 500, 600),
        step("close", "g/b.bin", "b.bin", 600, 601),
        step("create", "g/MANIFEST", "", 610, 620),
        step("write", "g/MANIFEST", "MANIFEST", 620, 640),
        step("fsync", "g/MANIFEST", "MANIFEST", 640, 700),
        step("fsync_dir", "g", "", 710, 720),
        step("fsync_dir", "", "", 730, 900),
    ),
)
CALLS = (
    call("openat", "/elsewhere/x", -20, -10),
    call("write", f"{STORE}/g/.tmp1", 45, 60, 8192),
    call("fsync", f"{STORE}/g/.tmp1", 210, 490),
    call("fsync", f"{STORE}/g/b.bin", 510, 590),
    call("rename", f"{STORE}/g/.tmp1 to {STORE}/g/a.bin", 602, 604),
    call("fsync", f"{STORE}/g", 711, 719),
    call("fsync", STORE, 740, 890),
    call("fsync", f"{STORE}/g/late", 1001, 1100),
)
REQUESTS = (
    write(-5), flush(-4), write(70), write(300, 8192), flush(400), flush(401), flush(550),
    write(800), flush(850), write(1500, 2048), flush(1600), write(5000),
)  # fmt: skip
