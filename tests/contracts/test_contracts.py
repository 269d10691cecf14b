"""The lane can fail, and its contracts hold on every small case (CrossHair looks further)."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from powercut import order
from powercut.order import is_downset
from tests.contracts import order_contracts
from tests.contracts.lane import LaneError, Verdict, check, parse

SMALL_BUDGET_S = 2.0
SOURCE = Path(order.__file__)


def broken_copy(folder: Path, old: str, new: str) -> str:
    """A copy of powercut/order.py with one line changed; its module name."""
    text = SOURCE.read_text()
    assert text.count(old) == 1, f"{SOURCE.name} no longer has the line {old!r}: choose another"
    (folder / "broken_order.py").write_text(text.replace(old, new))
    return "broken_order"


def test_a_closure_that_stops_after_one_step_has_a_counterexample(tmp_path: Path) -> None:
    module = broken_copy(tmp_path, "        todo |= new\n", "")

    findings = check(f"{module}.downset_of", SMALL_BUDGET_S, [tmp_path])

    assert [finding.verdict for finding in findings] == [Verdict.COUNTEREXAMPLE]
    assert "downset_of(" in findings[0].text


def test_the_closure_itself_has_no_counterexample_within_the_same_budget() -> None:
    findings = check("powercut.order.downset_of", SMALL_BUDGET_S)

    assert len(findings) == 1
    assert findings[0].verdict in (Verdict.NOT_CONFIRMED, Verdict.CONFIRMED)


def test_a_module_without_contracts_is_not_taken_for_a_pass(tmp_path: Path) -> None:
    (tmp_path / "no_contracts.py").write_text("def f(x: int) -> int:\n    return x\n")

    with pytest.raises(LaneError, match="nothing was checked"):
        check("no_contracts", SMALL_BUDGET_S, [tmp_path])


def test_a_module_that_cannot_be_imported_is_not_taken_for_a_pass() -> None:
    with pytest.raises(LaneError, match="no_such_module"):
        check("no_such_module", SMALL_BUDGET_S)


def test_not_confirmed_is_reported_as_exactly_that() -> None:
    findings = parse("/somewhere/order.py:22: info: Not confirmed.\n")

    assert [(f.place, f.verdict.value) for f in findings] == [("order.py:22", "not confirmed")]


def test_words_that_the_lane_does_not_know_are_an_error() -> None:
    with pytest.raises(LaneError, match="unknown"):
        parse("order.py:1: info: Something new.\n")


def test_the_contracts_of_order_hold_for_every_relation_on_two_events() -> None:
    sets = range(4)
    for requires in product(sets, repeat=2):
        for a, b in product(range(2), repeat=2):
            order_contracts.needing_is_the_converse_of_needed(requires, a, b)
        for first, second in product(sets, repeat=2):
            order_contracts.enumeration_is_exact(requires, first, second)
            if is_downset(second, requires):
                if not first & ~second:
                    order_contracts.downset_of_is_the_smallest(first, requires, second)
                if not second & ~first:
                    order_contracts.largest_downset_is_the_largest(first, requires, second)
