"""Answers that hang on what is in doubt.

Two things may be: rules that a profile does not rely on because nobody knows them, and permissions
that are known to allow too much.  A property that fails is asked once more with all the former, and
then without any of the latter.  Where no counterexample is left, its answer is `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve

from powercut.checker.exhaustive import breaks
from powercut.checker.verdict import Verdict
from powercut.profile import Profile
from powercut.simulation.permissions import needed_permissions

if TYPE_CHECKING:
    from powercut.checker.check import CheckQuestion

Ask = Callable[["CheckQuestion"], dict[str, Verdict]]


def settle(question: CheckQuestion, verdicts: dict[str, Verdict], ask: Ask) -> dict[str, Verdict]:
    """The verdicts, `unknown` where every counterexample that `ask` finds hangs on a doubt.

    A counterexample that needs a permission which allows too much is exchanged for one that needs
    none, where there is one.
    """
    profile = question.profile
    hopeful, modest = profile.with_unknown(), _modest(profile)
    failing = {name: verdict for name, verdict in verdicts.items() if verdict.verdict == "fails"}
    with_doubts = _still_failing(question, hopeful, failing, ask)
    without_excess = _still_failing(question, _modest(hopeful), with_doubts, ask)
    settled = dict(verdicts)
    for name, verdict in failing.items():
        hangs_on = _doubts(profile) if with_doubts.get(name) is not verdict else ()
        if name in with_doubts and name not in without_excess:
            hangs_on += _excess(question, with_doubts[name], hopeful)
        if name not in without_excess:
            settled[name] = evolve(verdict, verdict="unknown", unknown_rules=hangs_on)
        elif not _fails_under(question, modest, name, verdict):
            other = without_excess[name]
            settled[name] = other if _fails_under(question, profile, name, other) else verdict
    return {name: _naming_needs(question, verdict) for name, verdict in settled.items()}


def measurements(profile: Profile, verdicts: dict[str, Verdict]) -> dict[str, str]:
    """What each rule is that a verdict hangs on, and the measurement that would settle it."""
    hanging = {rule for verdict in verdicts.values() for rule in verdict.unknown_rules}
    said = {claim.rule.id: f"{claim.doubt}: {claim.measure}" for claim in profile.unknown}
    for claim in profile.claims:
        if claim.rule.permits_too_much:
            said[claim.rule.id] = f"a permission that allows too much: {claim.rule.measure}"
    return {rule: words for rule, words in said.items() if rule in hanging}


def _modest(profile: Profile) -> Profile:
    """The profile without the permissions that allow too much."""
    return evolve(profile, claims=tuple(c for c in profile.claims if not c.rule.permits_too_much))


def _still_failing(
    question: CheckQuestion, sharper: Profile, failing: dict[str, Verdict], ask: Ask
) -> dict[str, Verdict]:
    """The verdicts of the properties that fail under a sharper profile too.

    A counterexample that is one there stands; for another one `ask` is asked.
    """
    if sharper == question.profile:
        return failing
    left = {n: v for n, v in failing.items() if _fails_under(question, sharper, n, v)}
    gone = tuple(name for name in failing if name not in left)
    if gone:
        found = ask(evolve(question, profile=sharper, properties=gone))
        left |= {name: verdict for name, verdict in found.items() if verdict.verdict == "fails"}
    return left


def _fails_under(question: CheckQuestion, profile: Profile, name: str, verdict: Verdict) -> bool:
    example = verdict.counterexample
    if example is None:
        return False
    return breaks(example.steps, name, profile, question.subject) is not None


def _doubts(profile: Profile) -> tuple[str, ...]:
    return tuple(claim.rule.id for claim in profile.unknown)


def _excess(question: CheckQuestion, verdict: Verdict, profile: Profile) -> tuple[str, ...]:
    """The permissions that allow too much and that a counterexample needs; all, if any one does."""
    example = verdict.counterexample
    steps = () if example is None else example.steps
    needed = needed_permissions(steps, profile, question.subject)
    every = tuple(c.rule.id for c in profile.claims if c.rule.permits_too_much)
    return tuple(rule.id for rule in needed if rule.permits_too_much) or every


def _naming_needs(question: CheckQuestion, verdict: Verdict) -> Verdict:
    """The verdict with the permissions that its counterexample needs."""
    example = verdict.counterexample
    if example is None:
        return verdict
    needed = needed_permissions(example.steps, question.profile, question.subject)
    named = evolve(example, needs=tuple(rule.id for rule in needed))
    return evolve(verdict, counterexample=named)
