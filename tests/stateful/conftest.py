"""The disks of this machine that the model's view is held against."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.real_disk import LINUX, Disk, kind_of, places_for

WANTED = ("tmpfs", "ext4") if LINUX else (sys.platform,)


@pytest.fixture(scope="module", params=WANTED)
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    parent = places_for(request.param)
    if parent is None:
        here = kind_of(Path(__file__).parent)
        pytest.skip(f"no folder on {request.param} here: the checkout is on {here}")
    with tempfile.TemporaryDirectory(prefix=".powercut-view-", dir=parent) as folder:
        yield Disk(Path(folder), request.param)
