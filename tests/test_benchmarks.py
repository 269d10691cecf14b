"""What the figures rest on: every way to save gets the same bytes, and takes its turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import _peers, cost_curve, growth
from benchmarks._paired import in_turns
from benchmarks.store_speed import parts_of

from lastgood import Group, Store


@pytest.mark.parametrize(("size_bytes", "count"), [(1 << 10, 256), (1 << 10, 16), (1001, 3)])
def test_the_parts_of_a_shape_have_its_size(size_bytes: int, count: int) -> None:
    sizes = cost_curve.part_sizes(size_bytes, count)

    assert len(sizes) == count
    assert sum(sizes.values()) == size_bytes
    assert max(sizes.values()) - min(sizes.values()) < count


def test_plain_files_and_a_save_get_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second part is longer than the buffer: it comes by an iterator, and begins anew in it.
    monkeypatch.setattr(cost_curve, "CHUNK_BYTES", 4)
    shared, sizes = memoryview(bytearray(b"abcdefgh")), {"short": 3, "long": 18}
    cost_curve.plain(tmp_path / "plain", shared, sizes)
    stores = cost_curve.Stores(tmp_path / "stores")
    stores.renew()
    stores.save("sha256", shared, sizes)
    with Store(tmp_path / "stores" / "sha256", writable=False) as store:
        saved = store.restore()

    expected = {"short": b"abc", "long": b"abcdefghabcdefghab"}
    assert {name: bytes(saved[name]) for name in sizes} == expected
    assert {name: (tmp_path / "plain" / name).read_bytes() for name in sizes} == expected
    stores.close()
    assert not (tmp_path / "stores").exists()


def test_no_two_parts_of_the_large_group_are_the_same() -> None:
    parts = parts_of(4096, 4)

    assert len({bytes(data) for data in parts.values()}) == 4


def test_a_peer_that_is_not_installed_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there, gone = (_peers.Peer(_peers.raw, "files synced", needs) for needs in ("json", "no_such"))
    monkeypatch.setattr(_peers, "PEERS", {"there": there, "gone": gone})

    assert _peers.here(["there", "gone"]) == {"there": there}
    said = capsys.readouterr().out
    assert said.count("files synced") == 2
    assert "NOT RUN: the package no_such is not installed" in said
    assert all(name in said for name in _peers.NOT_PEERS)


@pytest.mark.parametrize("warm_up", [True, False])
def test_each_takes_its_turn_and_is_first_in_its_own_round(warm_up: bool) -> None:
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in "ab"}
    took = in_turns(works, 3, lambda: order.append("."), warm_up=warm_up)

    assert "".join(order) == ".a.b" * warm_up + ".a.b.b.a.a.b"
    assert {name: len(each) for name, each in took.items()} == {"a": 3, "b": 3}


@pytest.mark.parametrize(
    ("write", "valid", "aside"),
    [(growth.write_groups, 3, 0), (growth.write_bare, 1, 0), (growth.write_quarantine, 1, 3)],
)
def test_what_the_growth_is_measured_on_is_a_store_as_a_save_would_leave_it(
    tmp_path: Path, write: Callable[[Path, int], None], valid: int, aside: int
) -> None:
    write(tmp_path / "store", 3)
    with Store(tmp_path / "store", writable=False) as store:
        assert sum(isinstance(each, Group) for each in store.verify()) == valid
        assert len(store.quarantined()) == len(store.reports()) == aside


@pytest.mark.parametrize("subject", growth.subjects(), ids=lambda subject: subject.name)
def test_every_call_whose_growth_is_measured_runs(tmp_path: Path, subject: growth.Subject) -> None:
    cells = growth.row(subject, tmp_path, [2, 4])

    assert len(cells) == len(growth.header([2, 4]))
    assert cells[0] == subject.name
    assert list(tmp_path.iterdir()) == []


def test_the_looks_at_a_store_are_counted(tmp_path: Path) -> None:
    found = {each.name: each for each in growth.subjects()}

    assert growth.measure(found["groups()"], tmp_path, 5)[1] == growth.Looks(1, 5)
    assert growth.measure(found["latest_step()"], tmp_path, 5)[1] == growth.Looks(1, 1)
    assert growth.measure(found["save, LatestN, one goes"], tmp_path, 5)[1].listings == 1
