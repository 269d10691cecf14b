"""Saves on real file systems whose disks the rig records."""

from __future__ import annotations

import functools

import pytest

from powercut_lab.observe.layers import LATER
from powercut_lab.observe.recording import RecordedSave, record_on_rig
from powercut_lab.observe.saves import ObservedSave

pytestmark = pytest.mark.rig


@functools.cache
def saved(fs: str, mode: str) -> RecordedSave:
    return record_on_rig(fs, "lastgood", mode)


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_each_flush_of_a_save_that_syncs_came_while_a_sync_ran(fs: str) -> None:
    found = saved(fs, "atomic_dirsync")
    names = {span.id: span.name for span in found.spans}
    flushes = [s for s in found.spans if s.look == "flush" and s.belongs_to != LATER]

    assert flushes
    owners = {names.get(each.belongs_to, "") for each in flushes}
    # The first sync and the last have something to make durable; those between may not.
    assert {"fsync model.bin", "fsync store"} <= owners
    assert {span.lane for span in found.spans} == {"phases", "calls", "writes and flushes"}


def test_a_save_that_syncs_nothing_flushes_nothing_before_it_returns() -> None:
    save = ObservedSave("ext4", "lastgood", "unsafe", 1, "", saved("ext4", "unsafe").spans)

    assert save.costs == ()
    assert any(span.look == "flush" for span in save.later)  # the sync after it does
    assert sum(span.bytes for span in save.spans if span.look == "write") >= 192 << 10


def test_the_bytes_of_the_parts_are_on_the_disk_when_the_last_sync_has_returned() -> None:
    save = ObservedSave(
        "xfs", "lastgood", "atomic_dirsync", 1, "", saved("xfs", "atomic_dirsync").spans
    )

    assert sum(write.bytes for write in save.requests("write")) >= 192 << 10
