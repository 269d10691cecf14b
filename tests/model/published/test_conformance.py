"""Published results beside ours: what gates, what an answer hangs on, where events are cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner

from powercut.cli.commands import powercut
from powercut.filesystem import ops
from powercut.filesystem.content import ByteRun
from powercut.filesystem.events import Entry, Extent, Size
from powercut.profile import Claim, Profile, load_profile
from powercut.published.cases import PublishedCase, PublishedResult
from powercut.published.conformance import (
    NAMED_OFFSETS,
    PIECES,
    ConformanceRow,
    answer,
    case_points,
    compare_case,
    named_cuts,
    published_names,
    turning,
)
from powercut.published.disputes import DOES, disputed_points
from powercut.published.predicates import read_question
from powercut.rules import RULES

EXT4 = load_profile("ext4-ordered")
MADE = ops.Create("/f")


def case(
    predicate: list[Any],
    *program: ops.Op,
    kind: str = "must",
    setup: tuple[ops.Op, ...] = (),
    published: tuple[PublishedResult, ...] = (),
    family: str = "made-up",
    crash: str = "end",
) -> PublishedCase:
    asked = read_question(predicate, "a test")
    return PublishedCase(
        "one",
        family,
        "",
        setup,
        program,
        crash,
        "power",
        kind,
        asked.predicate,
        published,
        unspoken=" and ".join(asked.unspoken),
        weaker=asked.weaker,
        offsets=asked.offsets,
    )


def rows_of(made: PublishedCase, *published: tuple[str, str, str]) -> list[ConformanceRow]:
    results = tuple(PublishedResult(*each) for each in published)
    return list(compare_case(evolve(made, published=results), published_names()))


@pytest.mark.parametrize(
    ("predicate", "kind", "result", "gated"),
    [
        (["exists", "f"], "must", "violated", True),
        (["exists", "f"], "must", "holds", False),
        (["absent", "f"], "reachable", "reachable", True),
        (["absent", "f"], "reachable", "not_found", False),
    ],
)
def test_a_measured_result_gates_where_a_state_was_seen(
    predicate: list[Any], kind: str, result: str, gated: bool
) -> None:
    (row,) = rows_of(case(predicate, MADE, kind=kind), ("ext4", result, "measured"))

    assert row.gated is gated


@pytest.mark.parametrize("predicate", [["mountable"], ["removable", "d"], ["not", ["mountable"]]])
def test_what_no_state_of_the_model_denies_is_not_run(predicate: list[Any]) -> None:
    rows = rows_of(case(predicate, MADE), ("ext4", "holds", "doc"), ("xfs", "violated", "measured"))

    for row in rows:
        assert (row.ours, row.gated, row.agrees) == (None, False, None)
        assert row.not_run.startswith("the model does not speak of it: ")


def test_the_rest_of_a_conjunction_is_asked_where_the_whole_is_said_to_hold() -> None:
    predicate = ["and", ["mountable"], ["exists", "f"]]
    holds, violated = rows_of(
        case(predicate, MADE), ("ext4", "holds", "doc"), ("xfs", "violated", "doc")
    )

    assert (holds.ours, holds.gated, holds.agrees) == ("violated", True, False)
    assert "does not speak" in violated.not_run


def doubted(*rules: str) -> tuple[Claim, ...]:
    return tuple(Claim(RULES[rule], "assumed", "a test", doubt="unknown") for rule in rules)


def in_doubt(profile: Profile) -> tuple[str, ...]:
    made = case(["exists", "f"], MADE, ops.Fsync("/f"))
    published = PublishedResult("ext4", "holds", "doc")
    (row,) = compare_case(evolve(made, published=(published,)), {}, profile)
    assert row.ours == "unknown"
    return row.in_doubt


def test_a_row_in_doubt_names_the_rules_that_turn_it_and_no_other() -> None:
    floor = evolve(load_profile("posix-minimal"), published=("ext4",), name="ext4")
    unknown = doubted("op-atomic", "return-is-durable", "data-before-its-size")

    assert in_doubt(evolve(floor, unknown=unknown)) == ("return-is-durable",)


@pytest.mark.parametrize(
    ("turning_sets", "named"),
    [
        ([{"op-atomic"}], ["op-atomic"]),
        ([{"op-atomic"}, {"all-in-order"}], ["op-atomic", "all-in-order"]),
        ([{"op-atomic", "return-is-durable"}], ["op-atomic", "return-is-durable"]),
        (
            [{"op-atomic", "all-in-order"}, {"all-in-order", "return-is-durable"}],
            ["all-in-order", "return-is-durable"],
        ),
    ],
)
def test_the_rules_named_turn_the_answer_alone_or_none_of_them_can_be_left_out(
    turning_sets: list[set[str]], named: list[str]
) -> None:
    claims = doubted("op-atomic", "all-in-order", "return-is-durable", "fsync-data")

    def turns(some: Sequence[Claim]) -> bool:
        ids = {claim.rule.id for claim in some}
        return any(wanted <= ids for wanted in turning_sets)

    assert [claim.rule.id for claim in turning(claims, turns)] == named


def test_events_are_cut_on_both_sides_of_what_a_question_names() -> None:
    profile = evolve(EXT4, block_bytes=4096, sector_bytes=512)
    cuts = named_cuts(profile, (0, 700, 8192, 40_000, 99_999))
    data = Extent("w", 2, ByteRun(0, 65_536, 120))

    assert cuts(data) == [512, 1024, 8192, 32_768, 39_936, 40_448]
    assert cuts(Size("w", 2, 0, 65_536)) == [4096, 8192, 32_768, 36_864, 40_960]
    assert cuts(Size("t", 2, 65_536, 0)) == []
    assert cuts(Entry("c", "create", "entry", 1, "f", 2, None)) == ()


def test_no_more_offsets_are_taken_than_the_bound_says() -> None:
    offsets = tuple(4096 * number for number in range(1, 100))
    cuts = named_cuts(EXT4, offsets)(Size("w", 2, 0, 4096 * 100))

    assert len(cuts) == NAMED_OFFSETS + PIECES - 1


@pytest.mark.parametrize("blocks", range(1, 8))
def test_every_size_that_a_question_names_can_be_found(blocks: int) -> None:
    weak = load_profile("posix-minimal")
    written = ops.Write("/f", 0, b"x" * 8 * weak.block_bytes)
    made = case(["size", "f", blocks * weak.block_bytes], MADE, written, kind="reachable")

    assert answer(made, weak, case_points(made)) == "reachable"


@pytest.mark.parametrize("sector", range(8))
def test_every_byte_that_a_question_names_can_be_lost_alone(sector: int) -> None:
    weak = load_profile("posix-minimal")
    setup = MADE, ops.Write("/f", 0, b"a" * 4096)
    at, unit = sector * weak.sector_bytes, weak.sector_bytes
    predicate = ["and", ["range", "f", at, unit, "a"]]
    predicate += [["byte", "f", at - 1, "b"]] if sector else []
    predicate += [["byte", "f", at + unit, "b"]] if at + unit < 4096 else []
    written = ops.Write("/f", 0, b"b" * 4096)
    made = case(predicate, written, kind="reachable", setup=setup)

    assert answer(made, weak, case_points(made)) == "reachable"


def test_the_bound_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    path.write_text('{"schema": 1, "tests": []}')
    told = CliRunner().invoke(powercut, ["litmus", str(path)])
    data = CliRunner().invoke(powercut, ["litmus", str(path), "--json"])

    assert f"bound: every crash in which an event lands in at most {PIECES} pieces" in " ".join(
        told.stdout.split()
    )
    assert json.loads(data.stdout)["summary"]["bound"] == {
        "pieces": PIECES,
        "named_offsets": NAMED_OFFSETS,
    }


OLD: tuple[ops.Op, ...] = (ops.Create("/f"), ops.Append("/f", b"old"))
NEW: tuple[ops.Op, ...] = (
    ops.Create("/t"),
    ops.Append("/t", b"new"),
    ops.Rename("/t", "/f"),
)
MOVED: tuple[ops.Op, ...] = (
    ops.Rename("/A", "/B"),
    ops.Create("/B/f"),
    ops.Fsync("/B/f"),
)


@pytest.mark.parametrize(
    ("does", "setup", "program", "covered"),
    [
        ("changes names only", (), (ops.Create("/a"), ops.Link("/a", "/b")), True),
        ("changes names only", (), (ops.Create("/a"), ops.Append("/a", b"x")), False),
        ("changes names of two directories", (), (MADE, ops.Create("/d/x")), True),
        ("changes names of two directories", (), (ops.Rename("/d/x", "/e/x"),), True),
        ("changes names of two directories", (), (MADE, ops.Create("/g")), False),
        ("changes names of two directories", (), (MADE, ops.Fsync("/d")), False),
        ("replaces without a sync", OLD, NEW, True),
        ("replaces without a sync", (), NEW, False),
        ("replaces without a sync", OLD, (*NEW, ops.Sync()), False),
        ("replaces without a sync", OLD, (*NEW[:2], ops.Fsync("/t"), NEW[2]), False),
        ("replaces without a sync", OLD, (NEW[0], NEW[2]), False),
        ("syncs below a renamed directory", (ops.Mkdir("/A"),), MOVED, True),
        ("syncs below a renamed directory", (), (ops.Mkdir("/A"), ops.Sync(), *MOVED), True),
        ("syncs below a renamed directory", (), (ops.Mkdir("/A"), *MOVED), False),
        ("syncs below a renamed directory", (ops.Mkdir("/A"),), MOVED[:2], False),
        (
            "syncs below a renamed directory",
            (ops.Mkdir("/A"),),
            (MOVED[0], ops.Sync(), *MOVED[1:]),
            False,
        ),
    ],
)
def test_a_disputed_point_knows_its_cases_by_what_they_do(
    does: str, setup: tuple[ops.Op, ...], program: tuple[ops.Op, ...], covered: bool
) -> None:
    assert DOES[does](case(["exists", "f"], *program, setup=setup)) is covered


def test_a_case_that_was_never_collected_falls_under_its_point() -> None:
    replaced = case(["exists", "f"], *NEW, setup=OLD, family="held back")
    (row,) = rows_of(replaced, ("ext4", "violated", "doc"))

    assert row.disputed == "replace by rename without an fsync, on ext4 and xfs"
    assert row.gated is False


def test_points_name_ids_only_where_they_say_why() -> None:
    by_id = [point for point in disputed_points() if point.cases]

    assert [point.cases for point in by_id] == [("lkml-2026-006",)]
    assert "named by its id" in by_id[0].reason
