"""Answers that hang on what is in doubt.

Two things may be: rules that a profile does not rely on because nobody knows them, and permissions
that are known to allow too much.  A property that fails is asked once more with all the former, and
then without any of the latter.  Where no counterexample is left, its answer is `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve

from powercut.checker.exhaustive import breaks
from powercut.checker.verdict import Verdict
from powercut.profile import Profile
from powercut.simulation.permissions import needed_permissions
from powercut.simulation.subject import Subject

Ask = Callable[[Profile, Sequence[str]], dict[str, Verdict]]
"""The verdicts of a search under a profile, for the properties that are named."""


def settle(
    subject: Subject, profile: Profile, verdicts: dict[str, Verdict], ask: Ask
) -> dict[str, Verdict]:
    """The verdicts, `unknown` where every counterexample that `ask` finds hangs on a doubt.

    A counterexample that needs a permission which allows too much is exchanged for one that needs
    none, where there is one.
    """
    hopeful, modest = profile.with_unknown(), _modest(profile)
    failing = {name: verdict for name, verdict in verdicts.items() if verdict.verdict == "fails"}
    with_doubts = failing
    if hopeful != profile:
        with_doubts = _still_failing(subject, hopeful, failing, ask)
    without_excess = with_doubts
    if modest != profile:
        without_excess = _still_failing(subject, _modest(hopeful), with_doubts, ask)
    settled = dict(verdicts)
    for name, verdict in failing.items():
        hangs_on = _doubts(profile) if with_doubts.get(name) is not verdict else ()
        if name in with_doubts and name not in without_excess:
            hangs_on += _excess(subject, hopeful, with_doubts[name])
        if name not in without_excess:
            settled[name] = evolve(verdict, verdict="unknown", unknown_rules=hangs_on)
        elif not _fails(subject, modest, name, verdict):
            other = without_excess[name]
            settled[name] = other if _fails(subject, profile, name, other) else verdict
    return {name: _naming_needs(subject, profile, each) for name, each in settled.items()}


def measurements(profile: Profile, verdicts: dict[str, Verdict]) -> dict[str, str]:
    """Each rule that a verdict hangs on, with its doubt and the measurement to settle it."""
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
    subject: Subject, sharper: Profile, failing: dict[str, Verdict], ask: Ask
) -> dict[str, Verdict]:
    """The verdicts of the properties that fail under a sharper profile too.

    A counterexample that is one there stands; for another one `ask` is asked.
    """
    left = {name: each for name, each in failing.items() if _fails(subject, sharper, name, each)}
    gone = tuple(name for name in failing if name not in left)
    if gone:
        found = ask(sharper, gone)
        left |= {name: verdict for name, verdict in found.items() if verdict.verdict == "fails"}
    return left


def _fails(subject: Subject, profile: Profile, name: str, verdict: Verdict) -> bool:
    """The verdict's counterexample is one under that profile as well."""
    example = verdict.counterexample
    return example is not None and breaks(example.steps, name, profile, subject) is not None


def _doubts(profile: Profile) -> tuple[str, ...]:
    return tuple(claim.rule.id for claim in profile.unknown)


def _excess(subject: Subject, profile: Profile, verdict: Verdict) -> tuple[str, ...]:
    """The permissions that allow too much and that a counterexample needs; all, if any one does."""
    needed = _needed(subject, profile, verdict)
    every = tuple(c.rule.id for c in profile.claims if c.rule.permits_too_much)
    return tuple(rule_id for rule_id in every if rule_id in needed) or every


def _needed(subject: Subject, profile: Profile, verdict: Verdict) -> tuple[str, ...]:
    example = verdict.counterexample
    if example is None:
        return ()
    return tuple(rule.id for rule in needed_permissions(example.steps, profile, subject))


def _naming_needs(subject: Subject, profile: Profile, verdict: Verdict) -> Verdict:
    """The verdict with the permissions that its counterexample needs."""
    needs = _needed(subject, profile, verdict)
    if verdict.counterexample is None or not needs:
        return verdict
    return evolve(verdict, counterexample=evolve(verdict.counterexample, needs=needs))
