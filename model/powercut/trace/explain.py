"""Why a counterexample is possible, and what would forbid it: as data first, then as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import evolve, frozen

from powercut.crash.space import CrashSpace
from powercut.errors import PowercutError, UnknownEventError
from powercut.filesystem import ops
from powercut.filesystem.events import Entry, Event, Extent, Piece, Size
from powercut.filesystem.inodes import walk
from powercut.filesystem.state import State
from powercut.profile import CRASH_CLASSES, Claim, Profile
from powercut.rule import Rule
from powercut.rules import RULES
from powercut.simulation.oracle import PROPERTIES
from powercut.simulation.permissions import needed_permissions
from powercut.simulation.world import Ack, CrashStep, Perform, cuts_in
from powercut.trace.replay import replay, world_of
from powercut.trace.trace_file import Trace

_MACHINE_RULES = ("order", "atomic", "exposure")


@frozen
class Fate:
    """One pending event at the crash: its name, what it is in words, and what became of it."""

    name: str
    what: str
    fate: str


@frozen
class Explanation:
    """A counterexample taken apart.

    `forbidding_rules` are rules that the profile lacks and that would each make this crash
    impossible; `forbidding_syncs` are syncs that would each, right before the last acknowledgement.
    `damages` are what went bad at rest, which nothing forbids.  `needs` are the permissions of the
    profile without which one of its crashes is impossible.
    """

    trace: Trace
    profile: Profile
    crash_class: str
    fates: tuple[Fate, ...]
    because: str
    forbidding_rules: tuple[str, ...]
    forbidding_syncs: tuple[str, ...]
    damages: tuple[ops.Damage, ...] = ()
    needs: tuple[Rule, ...] = ()

    @property
    def verdict(self) -> str:
        """What replaying the trace gave."""
        return "fails" if self.because else "holds"

    def to_json(self) -> dict[str, Any]:
        """The explanation as `powercut explain --json` prints it."""
        return {
            "subject": self.trace.subject,
            "profile": self.profile.name,
            "property": self.trace.property,
            "crash_class": self.crash_class,
            "damages": [{"path": d.path, "how": d.how} for d in self.damages],
            "events": [{"name": f.name, "what": f.what, "fate": f.fate} for f in self.fates],
            "because": self.because,
            "forbidden_by_rules": list(self.forbidding_rules),
            "forbidden_by_syncs": list(self.forbidding_syncs),
            "needs": [{"permission": rule.id, "measure": rule.measure} for rule in self.needs],
        }


def explain(trace: Trace, where: str, profile: Profile | None = None) -> Explanation:
    """Take a trace apart at its last machine crash. TraceError as `replay`."""
    replayed = replay(trace, where, profile)
    profile = replayed.world.profile
    world = world_of(trace, profile)
    fates: tuple[Fate, ...] = ()
    crash_class = "none"
    for step in trace.steps:
        if isinstance(step, CrashStep):
            crash_class = step.crash.crash_class
            if crash_class != "process":
                fates = _fates(world.state, profile, step)
        world.apply(step)
    fails = replayed.verdict == "fails"
    return Explanation(
        trace,
        profile,
        crash_class,
        fates,
        replayed.because,
        tuple(_forbidding_rules(trace, where, profile, crash_class)) if fails else (),
        tuple(_forbidding_syncs(trace, where, profile)) if fails else (),
        tuple(
            step.op
            for step in trace.steps
            if isinstance(step, Perform) and isinstance(step.op, ops.Damage)
        ),
        needed_permissions(trace.steps, profile, world.subject),
    )


def _fates(state: State, profile: Profile, step: CrashStep) -> tuple[Fate, ...]:
    """Each event that was pending at a crash, in program order."""
    space = CrashSpace.of(state, profile, step.crash.crash_class, cuts_in(step.crash))
    paths = {number: path for path, number in walk(state.view)}
    lost, stale = set(step.crash.lost), set(step.crash.stale)
    fates = []
    for position, piece in enumerate(space.pieces):
        name = piece.name
        durable = (space.bound.durable | space.bound.logged) >> position & 1
        fate = "durable" if durable else "lost" if name in lost else "persisted"
        fates.append(Fate(name, describe(piece, paths), "reads stale" if name in stale else fate))
    return tuple(fates)


def describe(piece: Piece, paths: dict[int, str]) -> str:
    """An event in words, with the path that its inode had at the crash."""
    event: Event = piece.event
    match event:
        case Extent(run=run):
            return f"bytes {run.start} to {run.stop} of {_path(paths, event.inode)}"
        case Size(old=old, new=new):
            return f"size of {_path(paths, event.inode)} goes from {old} to {new}"
        case Entry(directory=directory, entry=entry, target=target):
            name = f"{paths.get(directory, '')}/{entry}"
            return f"the name {name} {'vanishes' if target is None else 'appears'}"


def _path(paths: dict[int, str], inode: int) -> str:
    return paths.get(inode, "a file without a name")


def _forbidding_rules(
    trace: Trace, where: str, profile: Profile, crash_class: str
) -> Iterator[str]:
    """Each rule that forbids the crash by itself, and that the profile lacks for its class."""
    for rule in RULES.values():
        claim = next((each for each in profile.claims if each.rule is rule), None)
        if claim is None and rule.kind not in _MACHINE_RULES:
            continue
        if claim is not None and (rule.permits or crash_class in claim.classes):
            continue
        both = frozenset(CRASH_CLASSES[1:])
        trial = Claim(rule, "assumed", "trial") if claim is None else evolve(claim, classes=both)
        stronger = evolve(profile, claims=(*profile.without(rule.id).claims, trial))
        try:
            replay(trace, where, stronger)
        except UnknownEventError:
            continue
        except PowercutError:
            yield rule.id


def _forbidding_syncs(trace: Trace, where: str, profile: Profile) -> Iterator[str]:
    """Each single fsync, right before the last acknowledgement, that makes the loss impossible."""
    before = max((i for i, s in enumerate(trace.steps) if isinstance(s, Ack)), default=None)
    if before is None or trace.kind != "pinned":
        return
    state = State()
    for step in trace.steps[:before]:
        if isinstance(step, Perform):
            state = state.perform(step.op, step.id)
    for path in ["/", *dict(walk(state.view))]:
        added = (Perform("added-fsync", ops.Fsync(path), numbered=False),)
        longer = evolve(trace, steps=(*trace.steps[:before], *added, *trace.steps[before:]))
        try:
            if replay(longer, where, profile).verdict == "holds":
                yield f"fsync of {path}"
        except UnknownEventError:
            continue
        except PowercutError:
            yield f"fsync of {path}"


def render(explanation: Explanation, replay_command: str) -> str:
    """The explanation as a short argument: let, then, why, and how to replay it."""
    trace = explanation.trace
    claim = PROPERTIES[trace.property]
    if not explanation.because:
        return (
            f"{trace.property} holds on this trace under {explanation.profile.name}: {claim}.\n"
            f"Replay it: {replay_command}"
        )
    width = max((len(f.name) for f in explanation.fates), default=0)
    lines = [f"{trace.property} fails under {explanation.profile.name}: {claim}.", "  Let"]
    lines += [f"    {f.name:<{width}}  {f.what}: {f.fate}" for f in explanation.fates]
    lines += [f"    {d.path}  went bad at rest: {d.how}" for d in explanation.damages]
    lines += ["  Then", f"    {explanation.because}: a contradiction."]
    lines += ["  Why the model allows it"]
    profile, syncs = explanation.profile, explanation.forbidding_syncs
    rules = [
        f"{rule} (not for this crash class there)" if profile.has(rule) else rule
        for rule in explanation.forbidding_rules
    ]
    if explanation.fates or not explanation.damages:
        lines.append(f"    no rule of {explanation.profile.name} forbids this loss.")
    for rule in explanation.needs:
        lines.append(f"    its permission {rule.id} allows it: {rule.claim}")
        if rule.measure:
            lines.append(f"    {rule.id} allows too much; what would settle it: {rule.measure}")
    if explanation.damages:
        lines.append("    damage at rest is no loss of a crash: no rule and no sync forbids it.")
    if rules:
        lines.append(f"    each of these rules would: {', '.join(rules)}.")
    if syncs:
        lines.append(
            f"    each of these would, right before the last acknowledgement: {', '.join(syncs)}."
        )
    elif (
        explanation.fates
        and trace.kind == "pinned"
        and any(isinstance(step, Ack) for step in trace.steps)
    ):
        lines.append("    no single fsync right before the last acknowledgement would.")
    return "\n".join([*lines, "  Replay", f"    {replay_command}"])
