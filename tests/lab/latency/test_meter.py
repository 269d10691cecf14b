"""Every nanosecond of a save belongs to one phase, whatever the clock says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.backends.detect import disk_here
from lastgood.backends.interface import Disk
from lastgood.backends.posix import PosixDisk
from powercut_lab.latency import protocols
from powercut_lab.latency.meter import PHASES, Meter, MeteredDisk, attribute, microseconds
from powercut_lab.latency.protocols import OURS, PAPERS, PROBE, WAYS, SaveSession, group_of
from tests.lab.latency.clocks import DiceClock, StoppedClock

BY_NAME = {way.name: way for way in WAYS}
DIVIDED = (*OURS, *PAPERS, PROBE)
SMALL = group_of(5000, 1)
MS = 1_000_000

# What each call of the slow disk takes: no two sums of few of them are the same.
COSTS = {
    "mkdir": 1 * MS,
    "create": 3 * MS,
    "write": 7 * MS,
    "write_early": 11 * MS,
    "close": 13 * MS,
    "fsync": 1000 * MS,
    "fsync_dir": 20_000 * MS,
    "rename": 300_000 * MS,
    "free_bytes": 5_000_000 * MS,
}


class SlowDisk:
    """A real disk whose calls move a clock that stands still otherwise."""

    def __init__(self, disk: PosixDisk, clock: StoppedClock) -> None:
        self.disk, self.clock = disk, clock
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        below = getattr(self.disk, name)

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            self.clock.advance(COSTS.get(name, 0))
            return below(*arguments)

        return call


def slow_kind() -> type[SlowDisk]:
    """A class that has all methods itself: capabilities are looked up in the class."""
    names = [n for n in dir(PosixDisk) if not n.startswith("_") and callable(getattr(PosixDisk, n))]

    def method(name: str) -> Callable[..., Any]:
        return lambda self, *arguments: self.__getattr__(name)(*arguments)

    return type("SlowKind", (SlowDisk,), {name: method(name) for name in names})


@pytest.mark.parametrize("name", DIVIDED)
@pytest.mark.parametrize("seed", range(3))
def test_the_phases_of_a_save_add_up_to_it(tmp_path: Path, name: str, seed: int) -> None:
    clock = DiceClock(seed)
    session = BY_NAME[name].open(tmp_path, SMALL, Meter(clock))
    for number in range(3):
        first = len(clock.readings)
        times = session.save(number + 1)
        wall = clock.readings[-1] - clock.readings[first]
        assert sum(times.values()) == wall
        assert min(times.values()) >= 0
        assert set(times) <= set(PHASES)
        session.clear()
    session.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    disk = slow_kind()(disk_here(), StoppedClock())
    monkeypatch.setattr(protocols, "disk_here", lambda: disk)
    return disk


@pytest.mark.parametrize("name", [*OURS, *PAPERS])
def test_each_call_of_the_disk_is_counted_under_its_own_phase(
    tmp_path: Path, slow: SlowDisk, name: str
) -> None:
    session = BY_NAME[name].open(tmp_path, SMALL, Meter(slow.clock))
    slow.calls.clear()
    times = session.save(1)
    calls = slow.calls

    def cost(*names: str) -> int:
        return sum(COSTS[call] for call in calls if call in names)

    writing = ("mkdir", "create", "write", "write_early", "close")
    expected = {
        "write": cost(*writing),
        "fsync": cost("fsync"),
        "rename": cost("rename"),
        "dirsync": cost("fsync_dir"),
        "other": cost("free_bytes"),
    }
    for phase, nanoseconds in expected.items():
        # The steps around the calls are timed in seconds, as fractions.
        assert times.get(phase, 0) == pytest.approx(nanoseconds, abs=2000), phase  # type: ignore[call-overload]
    assert times["digest"] <= 2000
    assert ("fsync" in calls) == (not name.endswith("unsafe"))
    session.close()


def test_what_a_step_takes_beside_the_disk_is_the_digest(tmp_path: Path) -> None:
    clock = StoppedClock()
    meter = Meter(clock)
    disk = MeteredDisk(slow_kind()(disk_here(), clock), meter)

    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            clock.advance(17 * MS)
            yield b"x" * 1000

    from lastgood import Store

    with Store(tmp_path / "store", mode="unsafe", disk=disk, clock=meter.seconds, workers=1) as s:
        times = meter.save(
            lambda: meter.filled(s.save(1, {"part": chunks()}).phases["write_s"]),
        )
    assert times["digest"] == pytest.approx(51 * MS, abs=2000)


def test_a_full_sync_is_looked_for_and_counted_where_the_disk_has_one(tmp_path: Path) -> None:
    clock = StoppedClock()
    meter = Meter(clock)

    class FullDisk(type(disk_here())):  # type: ignore[misc]
        def full_sync_dir(self, path: str) -> None:
            clock.advance(9 * MS)

    metered = MeteredDisk(FullDisk(), meter)
    assert meter.save(lambda: metered.full_sync_dir(str(tmp_path)))["dirsync"] == 9 * MS
    plain: Disk = MeteredDisk(disk_here(), meter)
    assert hasattr(plain, "full_sync_dir") == hasattr(disk_here(), "full_sync_dir")


def test_phases_that_are_more_than_the_whole_are_refused() -> None:
    with pytest.raises(ValueError, match="several threads"):
        attribute(10, {"write": 6, "fsync": 5}, 6)


@given(st.dictionaries(st.sampled_from(PHASES), st.integers(0, 10**13)))
def test_whole_microseconds_add_up_and_none_is_lost_or_negative(times: dict[Any, int]) -> None:
    found = microseconds(times)
    assert len(found) == len(PHASES)
    assert sum(found) == round(sum(times.values()) / 1000)
    for phase, value in zip(PHASES, found, strict=True):
        assert abs(value - times.get(phase, 0) / 1000) <= 1
        assert value >= 0


def test_a_session_that_is_cleared_leaves_no_group(tmp_path: Path) -> None:
    for name in (*OURS, *PAPERS):
        home = tmp_path / name
        home.mkdir()
        session: SaveSession = BY_NAME[name].open(home, SMALL, Meter(DiceClock(0)))
        session.save(1)
        kept = {path.name for path in home.rglob("*.bin")}
        assert kept == {"model.bin", "optim.bin"}
        session.clear()
        assert not list(home.rglob("*.bin"))
        session.close()
