"""What a search met, and the wrong parts that a recovery could have read."""

from __future__ import annotations

import pytest

from powercut.checker.exhaustive import parts_of
from powercut.crash.space import Crash
from powercut.filesystem import ops
from powercut.profile import load_profile
from powercut.simulation.encounters import Encounters
from powercut.simulation.subject import STORE, load_subject
from powercut.simulation.world import CrashStep, Perform, Recover, SaveLive, World

GROUP = f"{STORE}/gen-00000001-step-00000001"


def saved() -> World:
    world = World(load_profile("lying-drive"), load_subject("lastgood+record:atomic_dirsync"))
    world.apply(SaveLive(1, parts_of(1, 1)))
    return world


def lost(world: World, *what: str) -> CrashStep:
    """A power cut that takes the data of these writes and nothing else."""
    names = [event.name for event in world.state.issued if event.name.startswith(what)]
    return CrashStep(Crash("power", tuple(names)))


def data_of(world: World, path: str) -> str:
    """The name of the data that were written to a file."""
    op_id = next(i for i, op, _ in world.program if isinstance(op, ops.Write) and op.path == path)
    return f"{op_id}.data"


def test_a_part_that_a_crash_left_with_its_size_and_other_bytes_is_met_where_it_is_read() -> None:
    world = saved()
    world.apply(lost(world, data_of(world, f"{GROUP}/part1")))
    assert (list(world.wrong.values()), world.met.wrong_parts) == (["crash"], set())

    world.apply(Recover())
    assert world.met.wrong_parts == {"crash"}
    assert (world.met.acknowledged, world.met.returned) == (True, False)


def test_a_wrong_part_that_no_recovery_reads_is_not_met() -> None:
    """Without its manifest nobody looks at the part."""
    world = saved()
    manifest, part = (data_of(world, f"{GROUP}/{name}") for name in ("MANIFEST", "part1"))
    world.apply(lost(world, manifest, part))
    world.apply(Recover())

    assert (list(world.wrong.values()), world.met.wrong_parts) == (["crash"], set())


@pytest.mark.parametrize(
    ("path", "how", "met"),
    [
        ("part1", "changed", {"damage"}),
        ("part1", "truncated", set()),  # its size gives it away
        ("part1", "unreadable", set()),
        ("MANIFEST", "changed", set()),  # no part
    ],
)
def test_damage_tries_the_digest_check_where_nothing_else_gives_it_away(
    path: str, how: str, met: set[str]
) -> None:
    world = saved()
    world.apply(Perform("bad", ops.Damage(f"{GROUP}/{path}", how)))
    world.apply(Recover())

    assert world.met.wrong_parts == met
    assert world.met.damaged


def test_a_part_that_is_written_again_is_wrong_no_more() -> None:
    world = saved()
    path = f"{GROUP}/part1"
    world.apply(Perform("bad", ops.Damage(path, "changed")))
    assert list(world.wrong.values()) == ["damage"]

    world.apply(Perform("mend", ops.Write(path, 0, parts_of(1, 1)["part1"])))
    world.apply(CrashStep(Crash("process")))
    assert world.wrong == {}


@pytest.mark.parametrize(
    ("met", "missed"),
    [
        (Encounters(), {"P1": 2, "P2": 1, "P3": 1, "P4": 1, "P5": 0, "P7": 1}),
        (Encounters(True, True, True, {"damage"}), {"P1": 1}),
        (Encounters(True, True, True, {"crash"}), {}),
    ],
)
def test_what_was_missed_is_said_of_the_properties_that_ask_for_it(
    met: Encounters, missed: dict[str, int]
) -> None:
    names = ("P1", "P2", "P3", "P4", "P5", "P7")

    assert {name: len(met.missed(name)) for name in names} == dict.fromkeys(names, 0) | missed
