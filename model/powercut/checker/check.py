"""`check`: the verdicts of one subject under one profile and one crash class.

Enumeration within a bound comes first; sampling of longer histories adds what lies beyond it, and
can only refute.  settle.py asks once more about a property that fails, where something is in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import evolve, frozen

from powercut.checker.exhaustive import DAMAGED, DEEP, Bound, enumerate_verdicts
from powercut.checker.settle import measurements, settle
from powercut.checker.verdict import CheckReport, Verdict
from powercut.profile import Profile
from powercut.simulation.subject import Subject
from powercut.simulation.world import Begin, Perform, SaveLive
from powercut.trace.trace_file import Trace, render_trace

Progress = Callable[[str], None]
"""Told in words what begins."""


@frozen
class CheckQuestion:
    """What is asked: the subject, where, after which crash, and which properties."""

    subject: Subject
    profile: Profile
    crash_class: str
    properties: tuple[str, ...]


@frozen
class CheckEffort:
    """How hard to look. `method` is "both", "enumerated" or "sampled".

    Sampled histories have damage where one of the bounds has.
    """

    method: str = "both"
    bounds: tuple[Bound, ...] = (Bound(), DEEP, DAMAGED)
    examples: int = 100
    random: bool = False


def check(
    question: CheckQuestion, effort: CheckEffort, progress: Progress = lambda _: None
) -> CheckReport:
    """The verdict for each property asked."""

    def ask_again(sharper: Profile, names: Sequence[str]) -> dict[str, Verdict]:
        progress(f"{', '.join(names)} fail: once more without what is in doubt")
        return _ask(evolve(question, profile=sharper, properties=tuple(names)), effort, progress)

    first = _ask(question, effort, progress)
    verdicts = settle(question.subject, question.profile, first, ask_again)
    return CheckReport(
        question.subject.label,
        question.profile.name,
        question.crash_class,
        verdicts,
        measurements(question.profile, verdicts),
        question.profile.limits,
    )


def _ask(question: CheckQuestion, effort: CheckEffort, progress: Progress) -> dict[str, Verdict]:
    """The verdicts under the profile as it stands."""
    verdicts: dict[str, Verdict] = {}
    arguments = (question.subject, question.profile, question.crash_class)
    if effort.method in ("both", "enumerated"):
        progress("every history within the bounds")
        verdicts = enumerate_verdicts(*arguments, question.properties, *effort.bounds)
    left = [n for n in question.properties if n not in verdicts or verdicts[n].verdict != "fails"]
    if effort.method in ("both", "sampled") and left:
        # Here, so that replaying a trace does not need the `check` extra.
        from powercut.checker.random_search import sample_verdicts

        progress(f"{effort.examples} longer histories, sampled")
        damages = any(bound.damages for bound in effort.bounds)
        sampled = sample_verdicts(
            *arguments, left, effort.examples, random=effort.random, damages=damages
        )
        for name, verdict in sampled.items():
            if name not in verdicts or verdict.verdict == "fails":
                verdicts[name] = verdict
            else:  # what neither of the two searches met
                missed = tuple(m for m in verdicts[name].missed if m in verdict.missed)
                verdicts[name] = evolve(verdicts[name], missed=missed)
    return {name: verdicts[name] for name in question.properties}


def write_traces(report: CheckReport, question: CheckQuestion, folder: Path) -> CheckReport:
    """The report with each counterexample in a file of its own under `folder`. OSError."""
    verdicts = dict(report.properties)
    for name, verdict in verdicts.items():
        if verdict.counterexample is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / trace_name(question, name)
        path.write_text(render_trace(trace_of(question, verdict)), encoding="utf-8")
        verdicts[name] = evolve(verdict, trace=str(path))
    return evolve(report, properties=verdicts)


def trace_name(question: CheckQuestion, name: str) -> str:
    """The file name of the counterexample to one property."""
    words = (question.subject.label, question.profile.name, question.crash_class, name)
    plain = "".join(c if c.isalnum() and c.isascii() else "-" for c in "-".join(words))
    return f"{plain}.toml"


def trace_of(question: CheckQuestion, verdict: Verdict) -> Trace:
    """The trace of a verdict's counterexample, which must be there."""
    example = verdict.counterexample
    if example is None:
        raise ValueError("this verdict has no counterexample")
    spelt_out = any(isinstance(step, Perform | Begin) for step in example.steps)
    live = any(isinstance(step, SaveLive) for step in example.steps[:1])
    return Trace(
        kind="pinned" if spelt_out and not live else "regression",
        profile=question.profile.reference or question.profile.name,
        property=example.property,
        verdict="fails",
        steps=example.steps,
        subject=question.subject.label,
        because=example.because,
        needs=example.needs,
        origin={"by": f"powercut check, {verdict.method}", "crash_class": question.crash_class},
    )
