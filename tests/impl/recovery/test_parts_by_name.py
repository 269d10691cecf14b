"""A loaded group as a mapping: what asks for no bytes reads none, nor walks through its parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

import lastgood
from lastgood import IntegrityError
from lastgood.recovery.loaded import Loaded, Opened
from tests.impl.disks import PARTS, WatchedDisk, fill
from tests.impl.test_growth import python_calls


def handed_out(root: Path, kind: str, disk: WatchedDisk) -> Loaded | Opened:
    reader = lastgood.open_read_only(root / "store", disk=disk)
    found = reader.load() if kind == "loaded" else reader.open_group()
    assert found is not None
    disk.calls.clear()
    return found


@pytest.mark.parametrize("kind", ["loaded", "opened"])
def test_what_asks_for_no_bytes_reads_nothing(tmp_path: Path, kind: str) -> None:
    store = fill(tmp_path, [1])
    disk = WatchedDisk(tmp_path)
    found = handed_out(tmp_path, kind, disk)
    (store / "gen-00000001-step-00000001" / "model").write_bytes(b"WEIGHTS")

    assert "model" in found
    assert "model" in found.keys()  # noqa: SIM118
    assert "optim" not in found
    assert 7 not in cast("Mapping[object, object]", found)
    assert found.get("optim") is None
    assert found.get("optim", b"none") == b"none"
    assert (len(found), list(found)) == (2, list(PARTS))
    assert disk.calls == []

    # What asks for them verifies them.
    with pytest.raises(IntegrityError):
        found.get("model")
    with pytest.raises(KeyError, match="'optim'"):
        found["optim"]


def test_a_part_is_found_by_its_name_with_as_few_calls_among_many_as_among_few(
    tmp_path: Path,
) -> None:
    counts = []
    for count in (10, 1000):
        parts = {f"part{number:04}": b"x" for number in range(count)}
        fill(tmp_path / str(count), [1], parts)
        found = lastgood.open_read_only(tmp_path / str(count) / "store").restore()
        last = f"part{count - 1:04}"
        assert last in found

        def work(found: Loaded = found, last: str = last) -> None:
            assert found[last] == b"x"
            assert found.get("other") is None
            assert len(found) > 1
            found.path(last)
            found.read_range(last, 0, 1)

        counts.append(python_calls(work))

    assert counts[0] == counts[1]
