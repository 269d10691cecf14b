"""Random programs on the model and on a real disk at once; every crash image is judged.

A state machine performs ops on the model, decides when the kernel writes early, and at its end
runs the same on the disk.  What the disk leaves must be what the model allows.  A failure shrinks,
each smaller program being recorded anew, and ends as a trace that `powercut compare` runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from powercut.filesystem import ops
from powercut.filesystem.state import State
from powercut.simulation.world import Perform
from powercut.trace.trace_file import Trace, parse_trace, render_trace
from powercut_rig import Recipe, WriteBack, run_in_worker
from powercut_rig.campaigns.random_programs import (
    PATHS,
    SIZES,
    program_trace,
    random_program,
    saves_trace,
    size_of,
    token,
)
from powercut_rig.campaigns.soak import SoakWorkload, can_run, counterexample, shrink
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.judge import EARLY_WRITES, OWN_PLAN, JudgeEffort, compare_in_worker
from powercut_rig.judge.result import REFUSED, Comparison, Finding
from powercut_rig.mounted.writeback import drawn_plan, parse_plan, plan_text
from tests.rig.machines import run_machine

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
EXAMPLES = 2_000 if SOAK else 6
EFFORT = JudgeEffort(limit=None if SOAK else 40, fsck_every=0, coverage=False)

paths = st.sampled_from(PATHS)


class OnModelAndDisk(RuleBasedStateMachine):
    """A program that grows op by op; `teardown` runs it for real."""

    fs: ClassVar[str] = "ext4"
    effort: ClassVar[JudgeEffort] = EFFORT

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.program: list[ops.Op] = []
        self.early: list[WriteBack] = []

    def _do(self, op: ops.Op) -> None:
        try:
            self.state = self.state.perform(op, str(len(self.program)))
        except OSError:
            return  # the kernel refuses it too; tests/stateful holds that
        self.program.append(op)

    @rule(path=paths)
    def create(self, path: str) -> None:
        self._do(ops.Create(path))

    @rule(path=paths, place=st.sampled_from((0, 100, 4096)), size=st.sampled_from(SIZES))
    def write(self, path: str, place: int, size: int) -> None:
        end = size_of(self.state, path)
        if end is not None:
            self._do(ops.Write(path, min(place, end), token(len(self.program), size)))

    @rule(path=paths, size=st.sampled_from(SIZES))
    def append(self, path: str, size: int) -> None:
        end = size_of(self.state, path)
        if end is not None:
            self._do(ops.Write(path, end, token(len(self.program), size)))

    @rule(path=paths, size=st.sampled_from((0, 6000)))
    def truncate(self, path: str, size: int) -> None:
        self._do(ops.Truncate(path, size))

    @rule(path=paths)
    def mkdir(self, path: str) -> None:
        self._do(ops.Mkdir(path))

    @rule(src=paths, dst=paths)
    def rename(self, src: str, dst: str) -> None:
        self._do(ops.Rename(src, dst))

    @rule(src=paths, dst=paths)
    def link(self, src: str, dst: str) -> None:
        self._do(ops.Link(src, dst))

    @rule(path=paths)
    def remove(self, path: str) -> None:
        self._do(ops.Unlink(path))
        self._do(ops.Rmdir(path))

    @rule(path=st.sampled_from(("/", *PATHS)), data_only=st.booleans())
    def sync_one(self, path: str, data_only: bool) -> None:
        self._do(ops.Fdatasync(path) if data_only else ops.Fsync(path))

    @rule(path=paths)
    @precondition(lambda self: bool(self.program))
    def write_data_early(self, path: str) -> None:
        if size_of(self.state, path) is not None:
            self.early.append(WriteBack(len(self.program) - 1, "data", path))

    @rule()
    @precondition(lambda self: bool(self.program))
    def commit_early(self) -> None:
        self.early.append(WriteBack(len(self.program) - 1, "commit"))

    def teardown(self) -> None:
        if not self.program:
            return
        trace = program_trace(
            self.program,
            FILE_SYSTEMS[self.fs].profile,
            **{"by": "a state machine", "fs": self.fs, EARLY_WRITES: plan_text(self.early)},
        )
        result: Comparison = run_in_worker(
            compare_in_worker, trace, "program", self.fs, plans=(OWN_PLAN,), effort=self.effort
        )
        if not result.agrees:
            folder = Path("powercut-traces")
            folder.mkdir(exist_ok=True)
            path = folder / f"state-machine-{self.fs}.toml"
            path.write_text(render_trace(trace))
            raise AssertionError(
                f"{result.findings[0]}\nRun it again: powercut compare {path} --fs {self.fs}"
            )


@pytest.mark.rig
@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_what_a_random_program_leaves_on_a_disk_is_in_the_model(fs: str) -> None:
    run_machine(OnModelAndDisk, fs, EXAMPLES, 12)


def test_the_same_number_gives_the_same_program_and_every_write_its_own_token() -> None:
    for number in range(30):
        program = random_program(number)
        assert program == random_program(number)
        tokens = [bytes(op.data)[:4] for op in program if isinstance(op, ops.Write)]  # type: ignore[arg-type]
        assert len(set(tokens)) == len(tokens)
        assert can_run(program, drawn_plan(program, number))
    assert len({random_program(number) for number in range(30)}) == 30
    assert saves_trace(4, "lastgood:unsafe", "ext4-ordered") == saves_trace(
        4, "lastgood:unsafe", "ext4-ordered"
    )


def test_some_programs_rename_what_they_synced_and_then_sync_another_file() -> None:
    """Where a log has to follow a change of names: the log of btrfs brought what no sync asked."""
    met = 0
    for number in range(60):
        synced, changed = set[str](), set[str]()
        for op in random_program(number):
            if isinstance(op, ops.Fsync):
                met += bool(changed - {op.path})
                synced.add(op.path)
            elif isinstance(op, ops.Rename | ops.Link) and op.src in synced:
                changed.add(op.dst)
    assert met > 3


def test_a_trace_keeps_its_early_writes() -> None:
    early = drawn_plan(random_program(7), 7)
    assert parse_plan(plan_text(early)) == early
    trace = program_trace(random_program(7), "xfs", **{EARLY_WRITES: plan_text(early)})
    assert parse_trace(render_trace(trace), "here").origin[EARLY_WRITES] == plan_text(early)
    with pytest.raises(ValueError, match="'3:late' is no early write"):
        parse_plan("3:late")


def test_shrinking_keeps_what_matters_and_only_programs_that_can_run() -> None:
    program: list[ops.Op] = [
        ops.Mkdir("/d"),
        ops.Create("/d/a"),
        ops.Create("/b"),
        ops.Write("/b", 0, b"x"),
        ops.Rename("/d/a", "/d/e"),
        ops.Sync(),
    ]
    early = [WriteBack(2, "commit"), WriteBack(3, "data", "/b")]
    tried: list[list[ops.Op]] = []

    def outside(smaller: object, writes: object) -> bool:
        assert isinstance(smaller, list)
        assert isinstance(writes, list)
        tried.append(smaller)
        return ops.Rename("/d/a", "/d/e") in smaller and any(w.kind == "data" for w in writes)

    smallest, kept = shrink(program, early, outside, 200)

    assert smallest == [
        ops.Mkdir("/d"),
        ops.Create("/d/a"),
        ops.Create("/b"),
        ops.Rename("/d/a", "/d/e"),
    ]
    assert [item.kind for item in kept] == ["data"]
    for each in tried:
        state = State()
        for number, op in enumerate(each):
            state = state.perform(op, str(number))


def test_a_program_is_a_trace_whose_ops_come_back() -> None:
    program = random_program(11)
    steps = program_trace(program, "ext4-ordered").steps
    assert tuple(step.op for step in steps if isinstance(step, Perform)) == program


def test_a_program_that_leaves_a_disk_which_does_not_mount_is_made_smaller_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that is refused where an unlinked file is synced, and outside of the model never."""
    program = (
        ops.Create("/a"),
        ops.Mkdir("/d"),
        ops.Sync(),
        ops.Open("/a", "h"),
        ops.Unlink("/a"),
        ops.Fsync("@h"),
        ops.Create("/b"),
    )

    def judged(_: object, trace: Trace, *_rest: object, **_more: object) -> Comparison:
        done = [step.op for step in trace.steps if isinstance(step, Perform)]
        found = Comparison("t", "ext4", "ext4-ordered", None, "P1", "holds")
        found.refused = int(ops.Unlink("/a") in done and ops.Fsync("@h") in done)
        return found

    monkeypatch.setattr(SoakWorkload, "trace", lambda _: program_trace(program, "ext4-ordered"))
    monkeypatch.setattr("powercut_rig.campaigns.soak.run_in_worker", judged)
    result = judged(None, program_trace(program, "ext4-ordered"))
    result.findings = [
        Finding(kind, 1, 1, Recipe(0), "", "") for kind in ("recovery disagrees", REFUSED)
    ]
    smaller = counterexample(SoakWorkload(1, "ext4"), result)

    assert [step.op for step in smaller.steps if isinstance(step, Perform)] == [
        ops.Create("/a"),
        ops.Open("/a", "h"),
        ops.Unlink("/a"),
        ops.Fsync("@h"),
    ]
