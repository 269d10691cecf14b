"""Model against disk: every crash image of a recorded trace is held against the model.

For each image: mount it, read its tree, ask whether the model has that tree for that moment,
run the subject's real recovery on it, and judge what it returned.  From some images the process
lives on, is recorded while it recovers and saves, and crashes again.  A tree outside the model
means that the profile is too strong.  A recovery that answers otherwise than it does on the
model's disk means that the seam lies.  Both are findings; neither is ever tuned away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from powercut.ops import Op
from powercut.profile import Profile, profile_named
from powercut.subject import Subject, load_subject
from powercut.trace import Trace
from powercut_rig.answers import Answer, PlainTree, recover
from powercut_rig.blocklog import BlockLog
from powercut_rig.cases import Case, check_judgeable, prepare
from powercut_rig.comparison import DISAGREES, HUNG, OUTSIDE, REFUSED, Comparison, Finding
from powercut_rig.crashimages import Bounds, CrashImage, CrashImages, Moment
from powercut_rig.deadline import DeadlineError, deadline
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.life import Rehearsal, judge_life, live, next_number, rehearse
from powercut_rig.membership import Member
from powercut_rig.rigs import AnyImage, AnyRig, rig_for
from powercut_rig.timeline import Timeline
from powercut_rig.tree import Sight
from powercut_rig.worker import tell
from powercut_rig.writeback import WriteBack, drawn_plan, parse_plan

EARLY_WRITES: Final = "early_writes"
"""The key of a trace's origin that holds a write-back plan of its own."""

OWN_PLAN: Final = -1


@frozen
class Effort:
    """How much is done for each recording.

    At most `limit` images, spread over the log (None: all within `bounds`).  From `again` images
    the process lives on and crashes a second time, with at most `again_limit` images each.
    Every `fsck_every`-th image is checked by fsck (0: none), outside the timed part.  With
    `coverage` the model's trees are listed, to say how many of them were seen.  No image may take
    longer than `image_s` seconds.
    """

    limit: int | None = None
    again: int = 2
    again_limit: int = 40
    fsck_every: int = 50
    coverage: bool = True
    image_s: float = 60.0
    bounds: Bounds = field(factory=Bounds)


@frozen
class Scene:
    """A recording whose images are judged: the first crash, or (`crash` 2) one after a recovery."""

    case: Case
    member: Member
    log: BlockLog
    plan: int
    crash: int

    def progress(self, moment: Moment) -> tuple[int, int]:
        """How many ops had returned, and had begun."""
        return moment.progress.ops_completed, moment.progress.ops_begun


@frozen
class SecondScene(Scene):
    """The same where the log counts calls of the subject's disk, and not ops."""

    rehearsal: Rehearsal

    def progress(self, moment: Moment) -> tuple[int, int]:
        """How many ops the calls amount to that had returned, and had begun."""
        completed, begun = super().progress(moment)
        return self.rehearsal.ops(completed), self.rehearsal.ops(begun)


def compare_in_worker(
    trace: Trace,
    where: str,
    fs: str,
    *,
    profile_name: str | None = None,
    limit: int | None = None,
    plans: Sequence[int] = (0,),
    promised: Collection[str] = (),
    effort: Effort | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Record a trace on a real file system and hold its crash images against the model.

    Call it inside a worker (`run_in_worker`).  The trace is recorded once for each of `plans`,
    numbers of write-back plans.  `profile_name` stands in for the file system's own profile; with
    one that is too strong, images must fall outside the model.  A trace that holds promises its
    property, and those in `promised` as well.  `limit` is the effort's, here for convenience.
    """
    effort = effort or Effort()
    if limit is not None:
        effort = evolve(effort, limit=limit)
    entry = FILE_SYSTEMS[fs]
    bounds = evolve(effort.bounds, atomic_unit_bytes=entry.atomic_unit_bytes)
    with rig_for(fs) as rig:
        return hold(
            rig,
            trace,
            where,
            fs,
            profile_named(profile_name or entry.profile),
            plans=plans,
            promised=promised,
            effort=evolve(effort, bounds=bounds),
            clock=clock,
        )


def hold(
    rig: AnyRig,
    trace: Trace,
    where: str,
    fs: str,
    profile: Profile,
    *,
    plans: Sequence[int],
    promised: Collection[str] = (),
    effort: Effort,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Record a trace with a rig that is open, and hold its crash images against a profile."""
    check_judgeable(trace, where)
    case = prepare(trace, where, profile)
    subject = load_subject(trace.subject) if trace.subject else None
    result = Comparison(where, fs, profile.name, trace.subject, trace.property, trace.verdict)
    kept = {trace.property, *promised} if trace.verdict == "holds" else set[str]()
    member = Member(case.program)
    ops = [step.op for step in case.program.steps]
    judge = Judge(result, rig, subject, kept, effort, clock)
    for plan, early in _plans(trace, ops, plans):
        log = rig.record(ops, writeback=early)
        result.plans.add(plan)
        returned, bare = log.syncs()
        result.syncs += returned
        result.syncs_unflushed += bare
        result.flushes += log.flushes
        result.timeline = result.timeline or Timeline.of(log, f"{where} on {fs}, plan {plan}")
        judge.all_images(Scene(case, member, log, plan, 1))
    result.allowed = member.allowed() if effort.coverage else None
    result.seen = member.seen
    return result


def _plans(
    trace: Trace, ops: Sequence[Op], numbers: Sequence[int]
) -> Iterator[tuple[int, Sequence[WriteBack]]]:
    """The plans to record with: the trace's own where its origin holds one, and those numbered."""
    own = trace.origin.get(EARLY_WRITES)
    if own is not None and {0, OWN_PLAN} & set(numbers):
        yield OWN_PLAN, parse_plan(own)
    for number in numbers:
        if number != OWN_PLAN:
            yield number, drawn_plan(ops, number)


@define
class Judge:
    """Judges the images of scenes and counts into one result."""

    result: Comparison
    rig: AnyRig
    subject: Subject | None
    promised: set[str]
    effort: Effort
    clock: Callable[[], float]

    def all_images(self, scene: Scene) -> None:
        """Every image of a first crash; from some of them, a second one."""
        effort, result = self.effort, self.result
        found = self.rig.crash_images(scene.log, evolve(effort.bounds, seed=scene.plan))
        self._count(found)
        chosen = found.images if effort.limit is None else found.sample(effort.limit)
        again = set(_places(len(chosen), effort.again if self.subject else 0))
        only_read = self.subject is None
        began = self.clock()
        for number, (image, mounted) in enumerate(
            zip(chosen, self.rig.images(scene.log, chosen, only_read=only_read), strict=True)
        ):
            tree = self._judge(scene, image, mounted)
            if tree is not None and number in again:
                self._second_crash(scene, image, tree)
            if effort.fsck_every and number % effort.fsck_every == 0:
                result.seconds += self.clock() - began
                result.fsck_run += 1
                result.unclean += mounted.refusal is None and not mounted.fsck().clean
                began = self.clock()
        result.seconds += self.clock() - began

    def _count(self, found: CrashImages) -> None:
        self.result.tried.update(found.tried)
        self.result.possible.update(found.possible)

    def _second_crash(self, scene: Scene, image: CrashImage, tree: PlainTree) -> None:
        """Let a process live on this image, record it, and crash it again."""
        subject, result = self.subject, self.result
        if subject is None:
            return
        profile = scene.case.program.profile
        oracle = scene.case.oracle(*scene.progress(image.strongest))
        rehearsal = rehearse(subject, profile, tree, oracle)
        number = next_number(oracle)
        try:
            log, life = self.rig.record_on(
                scene.log,
                image.recipe,
                lambda make, mark: live(subject, profile, make(subject.protocol), number, mark),
            )
        except DeadlineError as error:
            result.hung += 1
            self._keep(HUNG, scene, image, f"while it lived on: {error}")
            return
        result.second_recordings += 1
        if life != rehearsal.life:
            result.disagreeing += 1
            self._keep(DISAGREES, scene, image, f"real: {life!r}; model: {rehearsal.life!r}")
            return
        self._note(scene, image, {v.property for v in judge_life(life, oracle)}, repr(life))
        member = Member(rehearsal.case.program)
        second = SecondScene(rehearsal.case, member, log, scene.plan, 2, rehearsal)
        found = self.rig.crash_images(log, evolve(self.effort.bounds, seed=scene.plan))
        self._count(found)
        chosen = found.sample(self.effort.again_limit)
        for after, mounted in zip(chosen, self.rig.images_after(log, chosen), strict=True):
            self._judge(second, after, mounted)

    def _look(
        self, scene: Scene, image: CrashImage, mounted: AnyImage
    ) -> tuple[Sight, Answer] | None:
        """An image's tree and what recovery answers on it; None where it cannot be had in time."""
        profile, subject = scene.case.program.profile, self.subject
        if mounted.refusal is not None:
            self.result.refused += 1
            self._keep(REFUSED, scene, image, f"{mounted.refusal}\n{mounted.kernel_said}")
            return None
        try:
            with deadline(self.effort.image_s):
                sight, answer = mounted.look(), Answer(None)
                if subject is not None:
                    answer = recover(subject, profile, mounted.disk(subject.protocol))
                mounted.unmount()
        except DeadlineError as error:
            self.result.hung += 1
            self._keep(HUNG, scene, image, str(error))
            return None
        return sight, answer

    def _judge(self, scene: Scene, image: CrashImage, mounted: AnyImage) -> PlainTree | None:
        """Everything that one image has to say; its tree where it has one."""
        result, subject = self.result, self.subject
        if scene.crash == 1:
            result.images += 1
        else:
            result.second_images += 1
        looked = self._look(scene, image, mounted)
        tell(result.images + result.second_images)
        if looked is None:
            return None
        sight, real = looked
        result.trees.add(sight.digest)
        for moment in image.moments:
            answer = scene.member.ask(sight, *scene.progress(moment), moment.crash_class)
            if answer is None:
                result.undecided += 1
            elif not answer:
                result.outside += 1
                why = scene.member.why(sight, *scene.progress(moment), moment.crash_class)
                self._keep(OUTSIDE, scene, image, f"{brief(sight.plain)}\n  {why}")
                break
        if subject is None:
            return sight.plain
        expected = scene.member.recovered(sight, subject)
        if real != expected:
            result.disagreeing += 1
            self._keep(DISAGREES, scene, image, f"real: {real!r}; model: {expected!r}")
        broken = set()
        for moments in {scene.progress(moment) for moment in image.moments}:
            oracle = scene.case.oracle(*moments).crashed()
            broken |= {violation.property for violation in oracle.judge(real.parts)}
        self._note(scene, image, broken, repr(real))
        return sight.plain

    def _note(self, scene: Scene, image: CrashImage, broken: set[str], detail: str) -> None:
        """Count broken properties; where one is promised, that is a finding."""
        result = self.result
        result.violations.update(broken)
        if wrong := sorted(broken & self.promised):
            result.not_allowed += 1
            self._keep(f"{' and '.join(wrong)} broken, and promised", scene, image, detail)

    def _keep(self, kind: str, scene: Scene, image: CrashImage, detail: str) -> None:
        moments = ", ".join(
            "{}/{} ({})".format(*scene.progress(moment), moment.crash_class)
            for moment in image.moments
        )
        title = f"{kind}: {self.result.trace} on {self.result.fs}, plan {scene.plan}"
        timeline = Timeline.of(scene.log, title)
        found = Finding(
            kind, scene.plan, scene.crash, image.recipe, moments, detail[:2000], timeline
        )
        self.result.keep(found)


def brief(tree: PlainTree) -> str:
    """A tree in one line, long contents cut."""
    shown = (f"{p}: {'dir' if c is None else c[:40]!r}" for p, c in sorted(tree.items()))
    return "; ".join(shown)


def _places(count: int, wanted: int) -> list[int]:
    """`wanted` places among `count`, evenly spread and not at the ends."""
    wanted = min(wanted, count)
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]
