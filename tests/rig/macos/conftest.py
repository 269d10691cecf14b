"""A rig on a Mac of paper; each test ends with nothing attached and nothing left in the folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from powercut_rig.macos.rig import MacRig
from powercut_rig.macos.session import session
from tests.rig.macos.fake_mac import FakeMac, at_once


@pytest.fixture
def mac() -> FakeMac:
    return FakeMac()


@pytest.fixture
def rig(mac: FakeMac, tmp_path: Path) -> Iterator[MacRig]:
    opened = session(
        mac, clone=mac.clone, calls=mac, background=at_once, pause=mac.pause, parent=tmp_path
    )
    with opened as rig:
        yield rig
    assert mac.attached == {}
    assert list(tmp_path.iterdir()) == []
    assert mac.most_attached <= 1
