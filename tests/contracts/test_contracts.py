"""The lane can fail, its contracts hold where they are counted, and its table speaks of them."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from tests import ROOT
from tests.contracts import __main__ as command
from tests.contracts import content_contracts, store_contracts
from tests.contracts.catalog import CONTRACTS, MODULES
from tests.contracts.contract import Contract, Mutant
from tests.contracts.lane import Finding, LaneError, Verdict, check, parse
from tests.contracts.table import (
    REFUTED,
    Row,
    fixed_cells,
    kept_answers,
    kept_rows,
    mutant_cell,
    page,
)

SMALL_BUDGET_S = 2.0
PATIENT_BUDGET_S = 60.0  # the search ends at the counterexample, on a busy machine a bit later
ENOUGH = 1000

each_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda each: each.name)


def named(name: str) -> Contract:
    (found,) = (each for each in CONTRACTS if each.name == name)
    return found


@each_contract
def test_more_than_a_thousand_inputs_satisfy_the_domain_and_keep_the_promise(
    contract: Contract,
) -> None:
    assert contract.domain
    assert len(set(contract.satisfying())) > ENOUGH


@each_contract
def test_the_mutant_changes_one_place_of_one_file_and_still_parses(
    contract: Contract, tmp_path: Path
) -> None:
    changed = contract.mutant.plant(tmp_path).parent / contract.mutant.file

    ast.parse(changed.read_text())
    assert changed.read_text() != (ROOT / contract.mutant.file).read_text()


def test_every_function_with_a_domain_is_a_contract() -> None:
    found = {
        f"{module.__name__}.{name}"
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and "Domain:" in (function.__doc__ or "")
    }

    assert found == {each.target for each in CONTRACTS}
    assert len(found) == len(CONTRACTS)


def test_the_table_has_a_row_for_each_contract_and_crosshair_has_confirmed_each() -> None:
    rows = kept_rows()

    assert [(*cells[:3], cells[4]) for cells in rows] == [
        (*fixed_cells(each), mutant_cell(each)) for each in CONTRACTS
    ], "write it anew: python -m tests.contracts --write"
    assert set(kept_answers().values()) == {(Verdict.CONFIRMED.value, REFUTED)}


def test_what_the_page_says_can_be_read_back() -> None:
    contract = CONTRACTS[0]
    broken = Finding(Verdict.COUNTEREXAMPLE, "AssertionError:  when calling f(0, b')') (which ...)")
    text = page([Row(contract, Finding(Verdict.NOT_CONFIRMED, "Not confirmed."), broken)], 3.0)

    assert "at most 3 s of processor time" in text
    assert f"| not confirmed | {mutant_cell(contract)} | refuted by `(0, b')')` |\n" in text


def test_a_promise_that_the_code_does_not_keep_is_an_error_of_the_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(content_contracts, "page_end", lambda offset: (offset // 4096 + 1) * 4096)

    with pytest.raises(AssertionError):
        list(named("page_end_is_the_first_border_from_an_offset_on").satisfying())


def test_an_assertion_of_the_code_itself_is_not_taken_for_the_edge_of_the_domain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*given: object) -> None:
        raise AssertionError("inside the code")

    monkeypatch.setattr(store_contracts, "merge_ranges", fails)

    with pytest.raises(AssertionError, match="inside the code"):
        list(named("merged_ranges_are_as_much_damage").satisfying())


def test_a_mutant_whose_text_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found 'no such text' 0 times, .* Choose another"):
        Mutant("impl/lastgood/damage.py", "no such text", "").plant(tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_mutant_is_refuted_that_is_wrong_for_one_input_of_all_below_2_to_the_62(
    tmp_path: Path,
) -> None:
    contract = named("page_end_is_the_first_border_from_an_offset_on")
    right = "return -(-offset // PAGE_BYTES) * PAGE_BYTES"
    wrong = f"{right} + (offset == 3141592653589793238)"
    root = Mutant(contract.mutant.file, right, wrong).plant(tmp_path)

    broken = check(contract.target, PATIENT_BUDGET_S, [root])

    assert broken.verdict is Verdict.COUNTEREXAMPLE
    assert broken.text.endswith(f"when calling {contract.name}(3141592653589793238)")


def test_the_contract_itself_is_not_refuted() -> None:
    contract = named("page_end_is_the_first_border_from_an_offset_on")

    assert check(contract.target, PATIENT_BUDGET_S).verdict is not Verdict.COUNTEREXAMPLE


@pytest.mark.parametrize(
    ("verdict", "said", "status"),
    [
        (Verdict.CONFIRMED, "  note: the table", 0),
        (Verdict.NOT_CONFIRMED, "  note: the table", 0),
        (Verdict.COUNTEREXAMPLE, "  when calling it", 1),
    ],
)
def test_only_a_counterexample_to_a_contract_fails_the_lane(
    verdict: Verdict,
    said: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answer(target: str, budget_s: float, extra_path: list[Path] | None = None) -> Finding:
        slow = Finding(Verdict.NOT_CONFIRMED, "Not confirmed.")
        return slow if extra_path else Finding(verdict, "when calling it")

    monkeypatch.setattr(command, "check", answer)
    monkeypatch.setattr(command, "CONTRACTS", CONTRACTS[:2])

    assert command.main([]) == status
    out = capsys.readouterr().out
    assert out.count(said) == 2
    assert out.endswith("0 of 2 mutants refuted\n")


def test_a_lane_that_cannot_run_is_not_taken_for_a_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*given: object) -> Finding:
        raise LaneError("no CrossHair here")

    monkeypatch.setattr(command, "check", fail)

    assert command.main([]) == 3
    assert capsys.readouterr().err == "could not run: no CrossHair here\n"


def test_a_function_without_a_contract_is_not_taken_for_a_pass(tmp_path: Path) -> None:
    (tmp_path / "no_contracts.py").write_text("def f(x: int) -> int:\n    return x\n")

    with pytest.raises(LaneError, match="nothing was checked"):
        check("no_contracts.f", SMALL_BUDGET_S, [tmp_path])


def test_a_module_that_cannot_be_imported_is_not_taken_for_a_pass() -> None:
    with pytest.raises(LaneError, match="no_such_module"):
        check("no_such_module.f", SMALL_BUDGET_S)


def test_not_confirmed_is_reported_as_exactly_that() -> None:
    findings = parse("/somewhere/chunks.py:22: info: Not confirmed.\n")

    assert [finding.verdict.value for finding in findings] == ["not confirmed"]


def test_words_that_the_lane_does_not_know_are_an_error() -> None:
    with pytest.raises(LaneError, match="unknown"):
        parse("chunks.py:1: info: Something new.\n")
