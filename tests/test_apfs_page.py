"""docs/apfs.md says what is so: verdicts, experiments, the trace that it explains, the workflow."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from attrs import evolve

from lastgood.backends.darwin import file_system_of
from lastgood.protocol.plan import Mode
from lastgood.protocol.receipt import guarantee
from powercut.filesystem.ops import Fsync, Fullsync
from powercut.profile import load_profile
from powercut.simulation.world import Perform
from powercut.trace.replay import replay
from powercut.trace.trace_file import read_trace
from tests import ROOT
from tests.harness.scripts import load_script

PAGE = (ROOT / "docs/apfs.md").read_text(encoding="utf-8")
TRACE = ROOT / "traces/counterexamples/lastgood-atomic-dirsync-apfs-power-P3.toml"
MODES: tuple[Mode, ...] = ("unsafe", "atomic_nodirsync", "atomic_dirsync", "atomic_fullsync")
CLASSES = ("process", "kernel", "power")


@pytest.fixture
def script() -> ModuleType:
    return load_script("generate_apfs")


def cells() -> dict[tuple[str, str], str]:
    rows = re.findall(
        r"^\| `(\w+)` \| (.*) \|$", PAGE.partition("<!-- end: apfs-matrix")[0], re.MULTILINE
    )
    return {
        (mode, crash_class): cell
        for mode, columns in rows
        for crash_class, cell in zip(CLASSES, columns.split(" | "), strict=True)
    }


def test_the_page_has_each_mode_in_each_crash_class() -> None:
    assert list(cells()) == [(mode, crash_class) for mode in MODES for crash_class in CLASSES]


@pytest.mark.parametrize(
    "crash_class",
    [
        "process",
        # `make test` asks for less of both in stateful/test_ways_of_saving.py.
        pytest.param("kernel", marks=pytest.mark.thorough),
        pytest.param("power", marks=pytest.mark.thorough),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_each_verdict_of_the_page_is_what_check_says(
    script: ModuleType, mode: str, crash_class: str
) -> None:
    assert cells()[mode, crash_class] == script.cell(mode, crash_class)


def test_nothing_is_relied_on_that_apple_does_not_document_and_nobody_measured() -> None:
    assert {claim.evidence for claim in load_profile("apfs").claims} <= {"documented", "measured"}


@pytest.mark.parametrize("mode", MODES)
def test_no_more_is_promised_than_the_page_says_holds(mode: Mode) -> None:
    on_apfs = file_system_of("/", "/dev/disk3s1s1 on / (apfs, sealed, local, journaled)\n")
    survives = CLASSES.index(guarantee(mode, on_apfs).survives)

    for crash_class in CLASSES[: survives + 1]:
        assert cells()[mode, crash_class] == "P1, P2, P3, P4, P5 hold"


def test_the_experiments_of_the_page_are_those_of_the_rig(script: ModuleType) -> None:
    assert script.experiments() in PAGE
    for claim in load_profile("apfs").unknown:
        assert f"| `{claim.rule.id}` | in doubt |" in PAGE


def test_a_stale_page_is_named_and_mended_and_its_prose_is_kept(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs/apfs.md"
    matrix = PAGE.partition("<!-- generated: apfs-matrix -->\n")[2].partition("\n<!-- end")[0]
    monkeypatch.setitem(script.PARTS, "apfs-matrix", lambda: matrix)
    page.write_text(PAGE.replace("**fail**", "hold"), encoding="utf-8")
    arguments = ["--root", str(tmp_path)]

    assert script.main(["--check", *arguments]) == 1
    assert "is stale; run python scripts/generate_apfs.py" in capsys.readouterr().out
    assert script.main(arguments) == 0
    assert page.read_text(encoding="utf-8") == PAGE
    assert script.main(["--check", *arguments]) == 0
    page.write_text("no markers", encoding="utf-8")
    assert script.main(arguments) == 2
    assert page.read_text(encoding="utf-8") == "no markers"


def test_the_trace_of_the_page_fails_even_if_every_rule_in_doubt_holds() -> None:
    trace = read_trace(TRACE)
    granted = load_profile("apfs").with_unknown()

    assert TRACE.relative_to(ROOT).as_posix() in PAGE
    assert granted.unknown == ()
    assert replay(trace, TRACE.name, granted).verdict == "fails"
    for op_id in ("14-fsync", "17-fsync", "13-write.data"):
        assert op_id in PAGE
        assert op_id in TRACE.read_text(encoding="utf-8")


def test_a_full_sync_in_place_of_its_last_fsync_makes_its_loss_impossible() -> None:
    trace = read_trace(TRACE)
    last = max(
        n for n, s in enumerate(trace.steps) if isinstance(s, Perform) and isinstance(s.op, Fsync)
    )
    step = trace.steps[last]
    assert isinstance(step, Perform)
    assert isinstance(step.op, Fsync)
    full = evolve(step, op=Fullsync(step.op.path))
    mended = evolve(trace, steps=(*trace.steps[:last], full, *trace.steps[last + 1 :]))

    with pytest.raises(Exception, match=r"13-write\.data is durable"):
        replay(mended, "mended")


def test_what_was_never_run_is_called_so_everywhere() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    workflow = (ROOT / ".github/workflows/macos.yml").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| macOS \|.*$", readme, re.MULTILINE)

    assert workflow.startswith("# Never run by us")
    assert "powercut-apfs-result.json" in workflow.partition("upload-artifact")[2]
    assert "Nothing on this page was run on a Mac by us." in PAGE
    assert row.count("not run") == 3
