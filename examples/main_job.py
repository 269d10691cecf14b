"""The main job, end to end: save, crash, recover, prove, refute, replay, compare with a real disk.

    python examples/main_job.py [--output DIR]

It trains a small network on real data and kills it in the middle of a save; proves one mode of
the protocol and refutes another, within a stated bound; replays what it found; and holds both
against crash images of a real ext4, where this machine can make them.  All that it writes lies
below DIR.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from attrs import define, evolve, field
from rich.console import Console
from rich.panel import Panel

from lastgood import Store
from lastgood.backends.detect import disk_here
from powercut.checker.check import CheckEffort, CheckQuestion, check, write_traces
from powercut.checker.exhaustive import DEEP, Bound
from powercut.checker.verdict import CheckReport
from powercut.cli.commands import show_report
from powercut.filesystem.state import State
from powercut.profile import load_profile
from powercut.simulation.model_disk import ModelDisk
from powercut.simulation.oracle import OF_CRASHES, Oracle
from powercut.simulation.subject import load_subject
from powercut.trace.explain import explain, render
from powercut.trace.replay import replay
from powercut.trace.trace_file import read_trace
from powercut_rig import Rig, crash_images, run_in_worker, what_is_missing
from powercut_rig.judge.judge import compare_in_worker
from powercut_rig.judge.recovery_answer import recover_for_real
from powercut_rig.reports.text import show_comparisons

sys.path.insert(0, str(Path(__file__).parent.parent))
from examples import train_digits as digits

EPOCHS = 6
KILLED_IN_SAVE = 4
DEADLINE_S = 120
PROVED, REFUTED, PAPER = "lastgood:atomic_dirsync", "lastgood:unsafe", "paper:atomic_dirsync"
ROOT = Path(__file__).parent.parent
HOLDING_TRACE = ROOT / "traces/regressions/lastgood-atomic-dirsync-two-saves.toml"

console = Console(width=100)


@define
class Summary:
    """The last screen: a line for each thing that was shown, and whether all went well."""

    lines: list[str] = field(factory=list)
    failed: bool = False

    def add(self, ok: bool, text: str) -> None:
        """One line; one that is not ok fails the job."""
        self.failed |= not ok
        self.lines.append(f"[{'green' if ok else 'red'}]{'✓' if ok else '✗'}[/] {text}")

    def note(self, text: str) -> None:
        """One line that is neither good nor bad, such as what was not run."""
        self.lines.append(f"[yellow]-[/] {text}")


def main() -> int:
    """Run every part; 0 where each showed what it should, 1 where one did not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "demo-output", metavar="DIR")
    parser.add_argument("--train-and-die", type=Path, metavar="STORE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train_and_die:
        train_and_die(arguments.train_and_die)
    output: Path = arguments.output
    if (output / "store").exists():
        shutil.rmtree(output / "store")
    output.mkdir(parents=True, exist_ok=True)

    summary = Summary()
    kill_a_real_training_run(output / "store", summary)
    proved = prove(output / "traces", summary)
    failing = refute(output / "traces", summary)
    compare_with_a_real_disk(failing, summary)
    console.print(Panel("\n".join(summary.lines), title="What you have seen", expand=True))
    console.print(
        f"The proof speaks for {proved} Beyond that bound there is random search only.\n"
        f"The counterexample is {failing}\n"
        f"  {command_line('powercut')} explain {failing}\n"
        f"Next: {command_line('powercut')} check --help, {command_line('lastgood')} verify --help, "
        "README.md",
        highlight=False,
        soft_wrap=True,
    )
    return 1 if summary.failed else 0


def command_line(name: str) -> str:
    """How to call a program of this environment: by its path, where the shell does not know it."""
    if shutil.which(name):
        return name
    path = Path(sys.executable).parent / name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def train_and_die(store: Path) -> None:
    """Train; in one save, half of the manifest is written and the process kills itself."""

    class DyingDisk(type(disk_here())):  # type: ignore[misc]
        manifests = 0

        def write(self, path: str, data: bytes | memoryview) -> None:
            self.manifests += path.endswith("/MANIFEST")
            if self.manifests == KILLED_IN_SAVE:
                super().write(path, bytes(data)[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            super().write(path, data)

    with Store(store, disk=DyingDisk()) as opened:
        digits.train(opened, EPOCHS)


def kill_a_real_training_run(path: Path, summary: Summary) -> None:
    """Part 1: a real network, a real SIGKILL inside a save, recovery, the same final weights."""
    console.rule("1. A real training run is killed in the middle of a save")
    command = [sys.executable, __file__, "--train-and-die", str(path)]
    died = subprocess.run(command, timeout=DEADLINE_S, check=False).returncode
    expected = digits.saved_groups(EPOCHS)
    with Store(path) as store:
        loaded = store.load_latest()
        if loaded is None:
            summary.add(False, "recovery found no group after the kill")
            return
        run = digits.run_from(loaded)
        model = loaded.read(digits.MODEL)
        same = model == expected[KILLED_IN_SAVE - 2].parts[digits.MODEL]
        reached = digits.accuracy(run.weights, digits.digits())
        console.print(f"killed by signal {-died} in save {KILLED_IN_SAVE}; passed over:")
        for rejection in loaded.rejected:
            console.print(f"  {rejection.name}: {rejection.reason}")
        console.print(
            f"recovered step {loaded.step}: accuracy {reached:.4f}, "
            f"saved with {digits.recorded_accuracy(model):.4f}"
        )
        summary.add(
            died == -signal.SIGKILL
            and same
            and reached == digits.recorded_accuracy(model)
            and bool(loaded.rejected),
            f"a training run, killed in a save, came back with the saved accuracy ({reached:.4f})",
        )
        final = digits.train(store, EPOCHS, run)
        newest = store.load_latest()
    whole = digits.run_from(_Parts(expected[-1].parts))
    identical = all(
        np.array_equal(final.weights[name], tensor) for name, tensor in whole.weights.items()
    )
    console.print(f"trained on to epoch {EPOCHS}: final weights identical: {identical}\n")
    summary.add(
        identical and newest is not None and newest.step == final.step,
        "trained on, it ended with the weights of the run that was never killed, bit for bit",
    )


@define
class _Parts:
    """Parts in memory, in the shape of a loaded group."""

    parts: object

    def read(self, part: str, /) -> bytes:
        """The bytes of one part."""
        content: bytes = self.parts[part]  # type: ignore[index]
        return content


def ask(
    subject: str,
    profile: str,
    effort: CheckEffort,
    folder: Path,
    properties: tuple[str, ...] = OF_CRASHES,
) -> CheckReport:
    """One question to the model, answered on the screen; its traces are written."""
    question = CheckQuestion(load_subject(subject), load_profile(profile), "power", properties)
    with console.status(f"{subject} under {profile}"):
        report = write_traces(check(question, effort), question, folder)
    show_report(report)
    return report


def prove(folder: Path, summary: Summary) -> str:
    """Part 2: every crash state of every short history, for the strongest mode."""
    console.rule("2. The model proves one mode, within a bound")
    states, bound = [], {}
    for profile in ("posix-minimal", "ext4-ordered"):
        report = ask(PROVED, profile, CheckEffort(bounds=(Bound(), DEEP)), folder)
        verdicts = report.properties.values()
        bound = dict(report.properties["P1"].bound)
        states.append(report.properties["P1"].represented)
        summary.add(
            all(v.verdict == "holds" for v in verdicts),
            f"{PROVED} holds P1 to P5 under {profile}: {states[-1]:,} crash states, all of them",
        )
    return (
        f"every history of {bound['saves']} saves, a recovery and a save of {bound['parts']} parts "
        f"with {bound['crashes']} crash, and of {bound['deep_saves']} save, a recovery and a save "
        f"of {bound['deep_parts']} part with {bound['deep_crashes']} crashes."
    )


def refute(folder: Path, summary: Summary) -> Path:
    """Part 3: the baseline and the published protocol, refuted; the trace explained, replayed."""
    console.rule("3. The model refutes another, with a trace")
    effort = CheckEffort(method="enumerated", bounds=(Bound(),))  # one crash is enough for these
    report = ask(REFUTED, "ext4-ordered", effort, folder, ("P2", "P3"))
    trace = Path(report.properties["P3"].trace or "")
    again_by = f"{command_line('powercut')} replay {trace}"
    console.print(render(explain(read_trace(trace), str(trace)), again_by))
    summary.add(
        report.properties["P3"].verdict == "fails",
        f"{REFUTED} fails P3 under ext4-ordered: an acknowledged group is lost",
    )
    paper = ask(PAPER, "posix-minimal", effort, folder, ("P2", "P3"))
    summary.add(
        paper.properties["P3"].verdict == "fails",
        f"{PAPER}, as published, fails P3 under posix-minimal: its directory is never synced above",
    )
    console.rule("4. The trace gives the same verdict again")
    again = [replay(read_trace(trace), str(trace)).verdict for _ in range(2)]
    console.print(f"{trace.name}: recorded fails, replayed {again[0]}, and again {again[1]}\n")
    summary.add(again == ["fails", "fails"], "the trace, replayed twice, gives its verdict twice")
    return trace


def compare_with_a_real_disk(failing: Path, summary: Summary) -> None:
    """Part 5: crash images of a real ext4, against the model and with the real model's weights."""
    console.rule("5. The same on a real ext4")
    if missing := what_is_missing():
        for sentence in missing:
            console.print(f"not run here: {sentence}")
        summary.note("the comparison with a real ext4 was NOT RUN: " + " ".join(missing))
        return
    results = [
        run_in_worker(compare_in_worker, read_trace(path), str(path), "ext4")
        for path in (HOLDING_TRACE, failing)
    ]
    show_comparisons(results)
    for result in results:
        broken = sum(result.violations.values())
        summary.add(
            result.agrees and (bool(broken) == (result.expected == "fails")),
            f"real ext4, {result.subject}: {result.images} crash images, {result.outside} outside "
            f"the model, {broken} violations{' (the model allows them)' if broken else ''}",
        )
    images, accuracies, bad = run_in_worker(real_weights_on_a_real_disk)
    shown = ", ".join(f"{a:.4f}" for a in sorted(accuracies))
    summary.add(
        len(accuracies) > 1 and bad == 0,
        f"the network's own files in {images} crash images: recovery always gave a saved group "
        f"(accuracy {shown})",
    )


def real_weights_on_a_real_disk() -> tuple[int, set[float], int]:
    """Two saves of the network: how many crash images, the accuracies recovered, how many bad."""
    profile, subject = load_profile("ext4-ordered"), load_subject(PROVED)
    groups = digits.saved_groups(2)
    disk, oracle = ModelDisk(State()), Oracle()
    session = subject.open(disk, profile)
    duties = []
    for number, group in enumerate(groups, start=1):
        session.save(group.step, group.parts)
        oracle = oracle.begin(number, group.parts)
        duties.append(len(disk.program))
    found: set[float] = set()
    images = bad = 0
    with Rig(fs="ext4") as rig:
        recording = rig.record([op for _, op, _ in disk.program])
        chosen = crash_images(recording).sample(150)
        for image, mounted in zip(chosen, rig.images(recording, chosen), strict=True):
            images += 1
            acknowledged = sum(image.ops_completed >= end for end in duties)
            owed = evolve(oracle, returned=frozenset(range(1, acknowledged + 1)))
            answer = recover_for_real(subject, profile, mounted.mountpoint)
            if answer.error or owed.judge(answer.parts):
                bad += 1
            elif answer.parts is not None:
                found.add(digits.recorded_accuracy(answer.parts[digits.MODEL]))
    return images, found, bad


if __name__ == "__main__":
    sys.exit(main())
