"""The lane can fail, and its contracts hold on every small case (CrossHair looks further)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lastgood.format.manifest import Manifest
from lastgood.format.names import newest_first
from powercut.crash import downsets
from powercut.crash.downsets import is_downset
from tests.contracts import downsets_contracts, manifest_contracts, recovery_contracts
from tests.contracts.__main__ import TARGETS
from tests.contracts.lane import LaneError, Verdict, check, parse

SMALL_BUDGET_S = 2.0
PATIENT_BUDGET_S = 60.0  # the search ends at the counterexample, on a busy machine a bit later
SOURCE = Path(downsets.__file__)


def broken_copy(folder: Path, old: str, new: str) -> str:
    """A copy of powercut/crash/downsets.py with one line changed; its module name."""
    text = SOURCE.read_text()
    assert text.count(old) == 1, f"{SOURCE.name} no longer has the line {old!r}: choose another"
    (folder / "broken_downsets.py").write_text(text.replace(old, new))
    return "broken_downsets"


def test_a_closure_that_stops_after_one_step_has_a_counterexample(tmp_path: Path) -> None:
    module = broken_copy(tmp_path, "        todo |= new\n", "")

    findings = check(f"{module}.downset_of", PATIENT_BUDGET_S, [tmp_path])

    assert [finding.verdict for finding in findings] == [Verdict.COUNTEREXAMPLE]
    assert "downset_of(" in findings[0].text


def test_the_closure_itself_has_no_counterexample_within_the_same_budget() -> None:
    findings = check("powercut.crash.downsets.downset_of", SMALL_BUDGET_S)

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
    findings = parse("/somewhere/downsets.py:22: info: Not confirmed.\n")

    assert [(f.place, f.verdict.value) for f in findings] == [("downsets.py:22", "not confirmed")]


def test_words_that_the_lane_does_not_know_are_an_error() -> None:
    with pytest.raises(LaneError, match="unknown"):
        parse("downsets.py:1: info: Something new.\n")


def relations() -> Iterator[tuple[int, ...]]:
    return product(range(4), repeat=2)


def downset_pairs() -> Iterator[tuple[int, tuple[int, ...], int]]:
    for requires in relations():
        for first, second in product(range(4), repeat=2):
            if is_downset(second, requires):
                yield first, requires, second


def fates(most: int) -> list[tuple[int, ...]]:
    kinds = range(len(recovery_contracts.FATES))
    return [each for length in range(most + 1) for each in product(kinds, repeat=length)]


CASES: dict[Callable[..., None], list[tuple[Any, ...]]] = {
    downsets_contracts.downset_of_is_the_smallest: [
        (first, requires, second)
        for first, requires, second in downset_pairs()
        if not first & ~second
    ],
    downsets_contracts.largest_downset_is_the_largest: [
        (first, requires, second)
        for first, requires, second in downset_pairs()
        if not second & ~first
    ],
    downsets_contracts.needing_is_the_converse_of_needed: [
        (requires, a, b) for requires in relations() for a, b in product(range(2), repeat=2)
    ],
    downsets_contracts.enumeration_is_exact: [
        (requires, landed, never)
        for requires in relations()
        for landed, never in product(range(4), repeat=2)
    ],
    manifest_contracts.a_safe_path_stays_inside_its_group: [("a",), ("a/b.c",), ("..a",)],
    manifest_contracts.what_is_encoded_is_decoded: [
        (0, 0, 0, 0, "", "a"),
        (1 << 62, 3, 4, 5, 'a"\n', "é b"),
    ],
    manifest_contracts.a_changed_byte_is_refused: [
        (place, change)
        for place in range(len(manifest_contracts.ENCODED))
        for change in (1, 0x20, 0x80)
    ],
    manifest_contracts.a_shortened_manifest_is_refused: [
        (length,) for length in range(len(manifest_contracts.ENCODED))
    ],
    manifest_contracts.a_group_has_one_name: [(0, 0, False), (10**8, 10**17, True)],
    manifest_contracts.a_generation_is_never_used_twice: list(product((0, 7, 10**9), repeat=3)),
    recovery_contracts.the_newest_intact_group_is_chosen: [(each,) for each in fates(3)],
    recovery_contracts.another_bad_group_never_hides_a_good_one: [
        (each, bad) for each in fates(2) if recovery_contracts.INTACT in each for bad in range(1, 8)
    ],
}


@pytest.mark.parametrize("contract", CASES, ids=lambda contract: contract.__name__)
def test_the_contract_holds_on_cases_that_meet_its_preconditions(
    contract: Callable[..., None],
) -> None:
    assert CASES[contract]

    for case in CASES[contract]:
        contract(*case)


def test_every_contract_that_the_lane_checks_has_such_cases() -> None:
    modules = (downsets_contracts, manifest_contracts, recovery_contracts)
    found = {
        function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }

    assert found == set(CASES)
    assert {module.__name__ for module in modules} < set(TARGETS)


def test_a_recovery_that_prefers_the_oldest_group_breaks_the_contract(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "lastgood.recovery.recovery.newest_first", lambda names: newest_first(names)[::-1]
    )

    with pytest.raises(AssertionError):
        recovery_contracts.the_newest_intact_group_is_chosen((0, 0))


def test_a_manifest_without_its_seal_breaks_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_contracts, "decode", lambda data: Manifest(7, 42, "a", ()))

    with pytest.raises(AssertionError):
        manifest_contracts.a_changed_byte_is_refused(30, 1)
