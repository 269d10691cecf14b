"""What happens in a store can be watched; when to save can be asked; a signal can be noted."""

from __future__ import annotations

import errno
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from lastgood import (
    AtSteps,
    Event,
    EveryInterval,
    EverySteps,
    LatestN,
    Preemption,
    StorageError,
    Store,
    UsageError,
)
from lastgood.training.cadence import AnyCadence, Cadence, LastSave
from tests.impl.disks import PARTS, WatchedDisk, failing, open_store


def test_a_hook_is_told_of_saves_prunes_loads_and_fallbacks(tmp_path: Path) -> None:
    events: list[Event] = []
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk, keep=LatestN(2), on_event=events.append) as store:
        for step in (1, 2, 3):
            store.save(step, PARTS)
        (store.path / "gen-00000003-step-00000003" / "model").unlink()
        store.load_latest()
        disk.fault = failing("fsync", "model")
        with pytest.raises(StorageError):
            store.save(4, PARTS)

    assert [event.kind for event in events] == [
        "saved",
        "saved",
        "pruned",
        "saved",
        "rejected",
        "quarantined",
        "loaded",
        "save_failed",
    ]
    saved, pruned, rejected = events[0], events[2], events[4]
    assert saved.fields["name"] == "gen-00000001-step-00000001"
    assert saved.fields["survives"] == "power"
    assert {"write_s", "sync_files_s", "sync_dirs_s"} <= set(saved.fields)
    assert pruned.fields["names"] == ["gen-00000001-step-00000001"]
    assert rejected.fields["reason"] == "missing:model"
    assert {event.store for event in events} == {str(store.path)}


def test_the_log_has_the_fields_as_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lastgood"), open_store(tmp_path) as store:
        store.save(1, PARTS)

    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.__dict__["lastgood"]["event"] == "saved"
    assert record.__dict__["lastgood"]["size_bytes"] == sum(map(len, PARTS.values()))


def test_a_hook_that_raises_breaks_no_save(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("the dashboard is down")

    with open_store(tmp_path, on_event=broken) as store:
        assert store.save(1, PARTS).generation == 1

    assert "the event hook" in caplog.text
    assert "the dashboard is down" in caplog.text


@pytest.mark.parametrize(
    ("cadence", "due"),
    [
        (EverySteps(10), {20, 30}),
        (AtSteps([7, 20]), {7, 20}),
        (EveryInterval(25), {25, 26, 27, 28, 29, 30}),
        (EverySteps(20) | AtSteps([5]), {5, 20}),
    ],
)
def test_when_a_save_is_due(cadence: Cadence, due: set[int]) -> None:
    """A step takes a second; step 10 was saved as the clock began."""
    last = LastSave(10, 0.0)

    assert {step for step in range(31) if cadence.is_due(step, float(step), last)} == due


@pytest.mark.parametrize(
    "make",
    [
        lambda: EverySteps(0),
        lambda: EverySteps(1.5),  # type: ignore[arg-type]
        lambda: EveryInterval(0),
        lambda: EveryInterval("60"),  # type: ignore[arg-type]
        lambda: AtSteps(3),  # type: ignore[arg-type]
        lambda: AtSteps(["x"]),  # type: ignore[list-item]
        lambda: AnyCadence([3]),  # type: ignore[list-item]
        lambda: AnyCadence(EverySteps(1)),  # type: ignore[arg-type]
    ],
)
def test_a_cadence_that_makes_no_sense_is_refused(make: object) -> None:
    with pytest.raises(UsageError, match="expected"):
        make()  # type: ignore[operator]


def test_a_store_says_when_a_save_is_due_by_a_clock_that_nobody_sets(tmp_path: Path) -> None:
    clock_s, wall_s = 100.0, 1e9
    with Store(
        tmp_path / "store",
        disk=WatchedDisk(tmp_path),
        when=EveryInterval(60),
        clock=lambda: clock_s,
        now=lambda: wall_s,
    ) as store:
        wall_s += 3600
        assert not store.is_due(1)
        clock_s = 160.0
        assert store.is_due(2)
        store.save(2, PARTS)
        assert not store.is_due(3)
        clock_s, wall_s = 220.0, 0.0
        assert (store.is_due(2), store.is_due(4)) == (False, True)
    with open_store(tmp_path) as store:
        assert store.is_due(0)


def test_the_time_of_a_save_is_in_its_manifest_and_harmless(tmp_path: Path) -> None:
    for number, now_s in enumerate((1e9, -5.0, 2e17), 1):
        with open_store(tmp_path, now=lambda now_s=now_s: now_s) as store:
            store.save(number, PARTS)
            assert store.groups()[0].manifest.saved_at_s == max(0, int(now_s))


def test_a_signal_is_noted_and_the_run_saves_and_leaves(tmp_path: Path) -> None:
    def run() -> None:
        with open_store(tmp_path) as store, Preemption() as stop:
            for step in range(100):
                if step == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
                if stop.requested:
                    store.save(step, PARTS)
                stop.leave_if_requested()

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        run()

    assert left.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    with open_store(tmp_path) as store:
        assert store.latest_step() == 3


@pytest.mark.parametrize("order", ["requested first", "due first", "never asked"])
def test_a_signal_between_the_if_and_the_leaving_loses_no_step(tmp_path: Path, order: str) -> None:
    """The documented loop, with the signal at the worst moment of step 3."""
    trained = []

    def run() -> None:
        with open_store(tmp_path, when=EverySteps(2)) as store, Preemption() as stop:
            for step in range(100):
                trained.append(step)
                if order == "requested first":
                    saves = stop.requested or store.is_due(step)
                elif order == "due first":
                    saves = store.is_due(step) or stop.requested
                else:
                    saves = True
                if saves:
                    store.save(step, PARTS)
                if step == 3:
                    signal.raise_signal(signal.SIGTERM)
                stop.leave_if_requested()

    with pytest.raises(SystemExit) as left:
        run()

    assert left.value.code == 128 + signal.SIGTERM
    assert len(trained) <= 6
    with open_store(tmp_path) as store:
        assert store.latest_step() == trained[-1]


def test_a_signal_during_a_save_lets_it_end(tmp_path: Path) -> None:
    def chunks() -> object:
        yield b"first"
        os.kill(os.getpid(), signal.SIGTERM)
        yield b"second"

    with open_store(tmp_path) as store, Preemption() as stop:
        store.save(1, {"model": chunks()})  # type: ignore[dict-item]
        assert stop.requested
        assert store.restore()["model"] == b"firstsecond"


def test_an_earlier_handler_is_called_too() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))
    try:
        with Preemption([signal.SIGUSR1]) as stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stop.signum == signal.SIGUSR1
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        ([signal.SIGTERM, signal.SIGKILL], "SIGKILL cannot be caught"),
        ([signal.SIGTERM, signal.SIGSTOP], "SIGSTOP cannot be caught"),
        ([signal.SIGTERM, 4000], "4000 is no signal"),
        ([signal.SIGTERM, "SIGUSR1"], "'SIGUSR1' is no signal"),
        ([signal.SIGTERM, 15.0], "15.0 is no signal"),
        ([[]], "is no signal"),
        (signal.SIGTERM, "expected several"),
    ],
)
def test_what_cannot_be_caught_is_refused_before_any_handler_is_set(
    signals: Any, message: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UsageError, match=message):
        Preemption(signals)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError(errno.EINVAL, "Invalid"), UsageError, "SIGTERM, SIGUSR2 cannot be caught here"),
        (ValueError("main thread"), UsageError, "Enter this in the main thread"),
        (MemoryError("of a handler that ran"), MemoryError, "of a handler that ran"),
    ],
)
def test_a_handler_that_cannot_be_set_leaves_the_others_as_they_were(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], message: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    install = signal.signal

    def refuse(number: int, handler: Any) -> Any:
        if number == signal.SIGUSR2:
            raise error
        return install(number, handler)

    stop = Preemption([signal.SIGTERM, signal.SIGUSR2])
    with monkeypatch.context() as patched:
        patched.setattr(signal, "signal", refuse)
        with pytest.raises(kind, match=message), stop:
            pass
    assert signal.getsignal(signal.SIGTERM) is before
    with stop:
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_is_named_twice_is_noted_once() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))
    try:
        with Preemption([signal.SIGUSR1, signal.SIGUSR1]) as stop:
            signal.raise_signal(signal.SIGUSR1)
            assert stop.requested
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_one_that_is_entered_cannot_be_entered_again_until_it_was_left() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = Preemption()
    with stop:
        with pytest.raises(UsageError, match="entered already"), stop:
            pass
        with Preemption() as inner:
            signal.raise_signal(signal.SIGTERM)
        assert (stop.signum, inner.signum) == (signal.SIGTERM, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    with stop:
        assert stop.requested
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_the_main_thread_can_catch_signals() -> None:
    errors: list[Exception] = []

    def enter() -> None:
        try:
            with Preemption():
                pass
        except UsageError as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(timeout=60)
    assert "main thread" in str(errors[0])
