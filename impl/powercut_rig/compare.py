"""Model against disk: every crash image of a recorded trace is held against the model.

For each image: mount it, read its tree, ask whether the model has that tree for that moment,
run the subject's real recovery on it, and judge what it returned.  A tree outside the model
means that the profile is too strong.  A recovery that answers otherwise than it does on the
model's disk means that the seam lies.  Both are findings; neither is ever tuned away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen

from powercut.enumerate import pinned
from powercut.errors import TraceError
from powercut.oracle import Oracle
from powercut.profile import Profile, load_profile
from powercut.subject import Subject, load_subject
from powercut.trace import Trace
from powercut.world import Ack, Begin, CrashStep, Perform, Step
from powercut_rig.answers import Answer, PlainTree, recover_for_real
from powercut_rig.crashimages import Bounds, CrashImage, crash_images
from powercut_rig.images import MountedImage
from powercut_rig.membership import Member, Program
from powercut_rig.rig import Rig
from powercut_rig.tree import read_tree

PROFILE_OF = {"ext4": "ext4-ordered"}
"""The profile that stands for each file system with its default options."""

EXAMPLES_MAX = 5


@frozen
class Finding:
    """One image that the model does not account for, with the recipe to make it again."""

    kind: str
    recipe: str
    moment: str
    detail: str


@define
class Comparison:
    """What came of one trace on one file system."""

    trace: str
    fs: str
    profile: str
    subject: str | None
    judged: str
    expected: str
    images: int = 0
    considered: int = 0
    outside: int = 0
    undecided: int = 0
    refused: int = 0
    disagreeing: int = 0
    unclean: int = 0
    fsck_run: int = 0
    violations: dict[str, int] = field(factory=dict)
    not_allowed: int = 0
    model_states: int = 0
    model_states_seen: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(factory=list)

    @property
    def images_per_s(self) -> float:
        """Images mounted, read, recovered and judged in a second; fsck apart."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def reproduced(self) -> bool:
        """A trace that fails was seen to fail on this disk; always so for one that holds."""
        return self.expected == "holds" or self.violations.get(self.judged, 0) > 0

    @property
    def agrees(self) -> bool:
        """No image is outside the model, and nothing broke that the model does not let break."""
        return not (self.outside or self.refused or self.disagreeing or self.not_allowed)

    def to_json(self) -> dict[str, Any]:
        """The comparison as `powercut compare --json` prints it."""
        return {
            "trace": self.trace,
            "fs": self.fs,
            "profile": self.profile,
            "subject": self.subject,
            "property": self.judged,
            "expected": self.expected,
            "agrees": self.agrees,
            "reproduced": self.reproduced,
            "images": {"mounted": self.images, "recipes": self.considered, "refused": self.refused},
            "outside_model": self.outside,
            "undecided": self.undecided,
            "recovery_disagrees": self.disagreeing,
            "violations": dict(sorted(self.violations.items())),
            "violations_not_allowed": self.not_allowed,
            "model_states": {"all": self.model_states, "seen": self.model_states_seen},
            "fsck": {"run": self.fsck_run, "unclean": self.unclean},
            "images_per_s": round(self.images_per_s, 1),
            "findings": [
                {"kind": f.kind, "recipe": f.recipe, "moment": f.moment, "detail": f.detail}
                for f in self.findings
            ],
        }


@frozen
class Recorded:
    """A trace made ready for a real disk: ops, and what is owed at each op boundary."""

    program: Program
    oracles: tuple[Oracle, ...]
    expected: str


JUDGED = ("P1", "P2", "P3")
"""What one recovery on one image can answer; the others need a second crash on the disk."""


def check_judgeable(trace: Trace, where: str) -> None:
    """Refuse a trace whose question no single crash image answers. TraceError."""
    if trace.property not in JUDGED:
        raise TraceError(
            f"{where}: it is about {trace.property}; a disk is asked about {', '.join(JUDGED)} "
            "only so far. Nothing was run."
        )
    first = next((s.crash.crash_class for s in trace.steps if isinstance(s, CrashStep)), "power")
    if first == "process":
        raise TraceError(
            f"{where}: its first crash is of a process; crash images are what a kernel or a power "
            "crash leaves. Nothing was run."
        )


def prepare(trace: Trace, where: str, profile: Profile) -> Recorded:
    """The ops of a trace up to its first crash, and the oracle after each. TraceError."""
    steps: tuple[Step, ...] = trace.steps
    if trace.subject is not None:
        steps = pinned(steps, profile, load_subject(trace.subject))
    performs: list[Perform] = []
    oracle = Oracle()
    oracles = [oracle]
    for step in steps:
        match step:
            case Perform():
                performs.append(step)
                oracles.append(oracle)
            case Begin(number=number, parts=parts):
                oracle = oracle.begin(number, parts)
            case Ack(number=number):
                oracle = oracle.acknowledge(number)
                oracles[-1] = oracle
            case CrashStep():
                break
            case _:
                raise TraceError(f"{where}: only saves can come before its first crash, on a disk")
    if not performs:
        raise TraceError(f"{where}: there is no op before its first crash")
    return Recorded(Program(tuple(performs), profile), tuple(oracles), trace.verdict)


def compare_in_worker(
    trace: Trace,
    where: str,
    fs: str,
    *,
    profile_name: str | None = None,
    limit: int | None = None,
    fsck_every: int = 50,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Record a trace on a real file system and hold its crash images against the model.

    Call it inside a worker (`run_in_worker`).  `profile_name` stands in for the file system's own
    profile; with one that is too strong, images must fall outside the model.  At most `limit`
    images are mounted, spread over the log.  Every `fsck_every`-th image is also checked by fsck,
    outside the timed part.
    """
    profile = load_profile(profile_name or PROFILE_OF[fs])
    check_judgeable(trace, where)
    recorded = prepare(trace, where, profile)
    subject = load_subject(trace.subject) if trace.subject else None
    result = Comparison(where, fs, profile.name, trace.subject, trace.property, recorded.expected)
    member = Member(recorded.program)
    with Rig(fs=fs) as rig:
        recording = rig.record([step.op for step in recorded.program.steps])
        found = crash_images(recording, Bounds())
        result.considered = found.considered
        chosen = found.images if limit is None else found.sample(limit)
        began = clock()
        for number, (image, mounted) in enumerate(
            zip(chosen, rig.images(recording, chosen), strict=True)
        ):
            _judge_image(result, recorded, member, subject, image, mounted)
            if fsck_every and number % fsck_every == 0:
                result.seconds += clock() - began
                result.fsck_run += 1
                result.unclean += not mounted.fsck().clean
                began = clock()
        result.seconds += clock() - began
    result.model_states, result.model_states_seen = member.coverage()
    return result


def _judge_image(
    result: Comparison,
    recorded: Recorded,
    member: Member,
    subject: Subject | None,
    image: CrashImage,
    mounted: MountedImage,
) -> None:
    """Everything that one image has to say."""
    result.images += 1
    if mounted.refusal is not None:
        result.refused += 1
        _keep(result, "refused", image, str(mounted.refusal))
        return
    tree: PlainTree = {
        path: content if content is None or isinstance(content, bytes) else repr(content).encode()
        for path, content in read_tree(mounted.mountpoint).items()
    }
    for moment in image.moments:
        progress = moment.progress
        answer = member.ask(tree, progress.ops_completed, progress.ops_begun, moment.crash_class)
        if answer is None:
            result.undecided += 1
        elif not answer:
            result.outside += 1
            _keep(result, "outside the model", image, _brief(tree))
            break
    if subject is None:
        return
    real = recover_for_real(subject, recorded.program.profile, mounted.mountpoint)
    expected: Answer = member.recovered(tree, subject)
    if real != expected:
        result.disagreeing += 1
        detail = f"real: {real!r}; model: {expected!r}"
        _keep(result, "recovery disagrees with the model's disk", image, detail)
    oracle = recorded.oracles[min(image.ops_completed, len(recorded.oracles) - 1)]
    oracle = _with_begun(oracle, recorded, image.ops_begun)
    for name in sorted({v.property for v in oracle.crashed().judge(real.parts)}):
        result.violations[name] = result.violations.get(name, 0) + 1
        if recorded.expected == "holds" and name == result.judged:
            result.not_allowed += 1
            _keep(result, f"{name} broken where the trace says that it holds", image, repr(real))


def _with_begun(oracle: Oracle, recorded: Recorded, begun: int) -> Oracle:
    """The same duties, with every save counted whose first op had begun."""
    later = recorded.oracles[min(begun, len(recorded.oracles) - 1)]
    for number, parts in later.saves.items():
        oracle = oracle.begin(number, parts)
    return oracle


def _keep(result: Comparison, kind: str, image: CrashImage, detail: str) -> None:
    if len(result.findings) < EXAMPLES_MAX:
        moments = ", ".join(
            f"{m.progress.ops_completed}/{m.progress.ops_begun} ({m.crash_class})"
            for m in image.moments
        )
        result.findings.append(Finding(kind, str(image.recipe), moments, detail[:2000]))


def _brief(tree: PlainTree) -> str:
    shown = (f"{p}: {'dir' if c is None else c[:40]!r}" for p, c in sorted(tree.items()))
    return "; ".join(shown)
