"""Model against disk: every crash image of a recorded trace is held against the model.

For each image: mount it, read its tree, ask whether the model has that tree for that moment,
run the subject's real recovery on it, and judge what it returned.  From some images the process
lives on, is recorded while it recovers and saves, and crashes again.  A tree outside the model
means that the profile is too strong.  A recovery that answers otherwise than it does on the
model's disk means that the seam lies.  Both are findings; neither is ever tuned away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from powercut.filesystem.ops import Op
from powercut.profile import Profile, profile_named
from powercut.simulation.oracle import OF_CRASHES, Oracle
from powercut.simulation.subject import Subject, load_subject
from powercut.trace.trace_file import Trace
from powercut_rig.blocks.block_log import BlockLog
from powercut_rig.blocks.crash_images import (
    Bounds,
    CrashImage,
    CrashImages,
    CrashMoment,
    inner_places,
)
from powercut_rig.blocks.timeline import timeline_of
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.judge.membership import ProgramMembership
from powercut_rig.judge.process_script import (
    USUAL_SCRIPT,
    ModelRun,
    Script,
    judge_run,
    next_number,
    run_on_model,
    run_script,
)
from powercut_rig.judge.recovery_answer import PlainTree, RecoveryAnswer, recover
from powercut_rig.judge.result import DISAGREES, HUNG, OUTSIDE, REFUSED, Comparison, Finding
from powercut_rig.judge.trace_case import TraceCase, check_judgeable, prepare_case
from powercut_rig.mounted.tree_reader import TreeSnapshot
from powercut_rig.mounted.writeback import Planner, WriteBack, drawn_plan, parse_plan
from powercut_rig.rigs import AnyImage, AnyRig, rig_for
from powercut_rig.system.deadline import DeadlineError, deadline
from powercut_rig.system.worker import report_progress

EARLY_WRITES: Final = "early_writes"
"""The key of a trace's origin that holds a write-back plan of its own."""

OWN_PLAN: Final = -1

TOLD_EVERY: Final = 5
"""Images between two words to the parent: each costs both processes a tenth of a millisecond."""


@frozen
class JudgeEffort:
    """The effort for each recording.

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

    def on(self, fs: str) -> JudgeEffort:
        """The same, with writes torn where this file system lets a drive tear them."""
        entry = FILE_SYSTEMS[fs]
        unit_bytes, whole = entry.atomic_unit_bytes, entry.whole
        bounds = evolve(self.bounds, atomic_unit_bytes=unit_bytes, whole=whole)
        return evolve(self, bounds=bounds)


@frozen
class JudgedRecording:
    """A recording whose images are judged: the first crash, or (`crash` 2) one after a recovery."""

    case: TraceCase
    membership: ProgramMembership
    log: BlockLog
    plan: int
    crash: int

    def progress(self, moment: CrashMoment) -> tuple[int, int]:
        """The numbers of ops that had returned, and that had begun."""
        return moment.progress.ops_completed, moment.progress.ops_begun


@frozen
class JudgedRun(JudgedRecording):
    """The same where the log counts calls of the subject's disk, and not ops."""

    model_run: ModelRun

    def progress(self, moment: CrashMoment) -> tuple[int, int]:
        """The numbers of ops that the calls amount to that had returned, and that had begun."""
        completed, begun = super().progress(moment)
        return self.model_run.ops(completed), self.model_run.ops(begun)


def compare_in_worker(
    trace: Trace,
    where: str,
    fs: str,
    *,
    profile_name: str | None = None,
    plans: Sequence[int] = (0,),
    promised: Collection[str] = (),
    effort: JudgeEffort | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Record a trace on a real file system and hold its crash images against the model.

    Call it inside a worker (`run_in_worker`).  The trace is recorded once for each of `plans`,
    numbers of write-back plans.  `profile_name` stands in for the file system's own profile; with
    one that is too strong, images must fall outside the model.  A trace that holds promises its
    property, and those in `promised` as well.
    """
    with rig_for(fs) as rig:
        return compare_trace(
            rig,
            trace,
            where,
            fs,
            profile_named(profile_name or FILE_SYSTEMS[fs].profile),
            plans=plans,
            promised=promised,
            effort=(effort or JudgeEffort()).on(fs),
            clock=clock,
        )


def compare_trace(
    rig: AnyRig,
    trace: Trace,
    where: str,
    fs: str,
    profile: Profile,
    *,
    plans: Sequence[int],
    promised: Collection[str] = (),
    effort: JudgeEffort,
    planner: Planner = drawn_plan,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Record a trace with a rig that is open, and hold its crash images against a profile.

    It is recorded once for each number in `plans`, with the plan that `planner` has for it.
    """
    check_judgeable(trace, where)
    case = prepare_case(trace, where, profile)
    subject = load_subject(trace.subject) if trace.subject else None
    asked = (trace.subject, trace.property, trace.verdict)
    result = Comparison(where, fs, profile.name, *asked, profile.limits)
    kept = {trace.property, *promised} if trace.verdict == "holds" else set[str]()
    judge = Judge(result, rig, subject, kept, effort, clock)
    ops = [step.op for step in case.program.steps]
    judge.recordings(case, ops, _plans(trace, ops, plans, planner))
    return result


def compare_history(
    rig: AnyRig,
    subject: Subject,
    fs: str,
    profile: Profile,
    scripts: Sequence[Script],
    *,
    early: Sequence[WriteBack] = (),
    effort: JudgeEffort,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Run scripts one after the other on a disk and on the model, with a crash after each.

    The first begins with an empty disk; each further one on images that the crash before left.
    All of P1 to P5 are promised; where a script prunes, they are what P6 owes.  ValueError where
    the first script does not come to its end on the model's disk.
    """
    first, *further = scripts
    model_run = run_on_model(subject, profile, {}, Oracle(), first)
    if (last := model_run.run.events[-1]).kind == "failed":
        raise ValueError(f"The first script ends in {last.error} on the model's disk: {first}.")
    result = Comparison("history", fs, profile.name, subject.label, "P3", "holds", profile.limits)
    judge = Judge(result, rig, subject, set(OF_CRASHES), effort, clock, further)
    ops = [step.op for step in model_run.case.program.steps]
    judge.recordings(model_run.case, ops, [(OWN_PLAN, early)])
    return result


def _plans(
    trace: Trace, ops: Sequence[Op], numbers: Sequence[int], planner: Planner
) -> Iterator[tuple[int, Sequence[WriteBack]]]:
    """The plans to record with: the trace's own where its origin holds one, and those numbered."""
    own = trace.origin.get(EARLY_WRITES)
    if own is not None and {0, OWN_PLAN} & set(numbers):
        yield OWN_PLAN, parse_plan(own)
    yield from ((number, planner(ops, number)) for number in numbers if number != OWN_PLAN)


@define
class Judge:
    """Judges the images of scenes and counts into one result."""

    result: Comparison
    rig: AnyRig
    subject: Subject | None
    promised: set[str]
    effort: JudgeEffort
    clock: Callable[[], float]
    scripts: Sequence[Script] = (USUAL_SCRIPT,)

    def recordings(
        self, case: TraceCase, ops: Sequence[Op], plans: Iterable[tuple[int, Sequence[WriteBack]]]
    ) -> None:
        """Record the ops of a case with each numbered plan, and judge all that crashes leave."""
        result, membership = self.result, ProgramMembership(case.program)
        for plan, early in plans:
            log = self.rig.record(ops, writeback=early)
            result.plans.add(plan)
            returned, bare = log.syncs()
            result.syncs += returned
            result.syncs_unflushed += bare
            result.flushes += log.flushes
            title = f"{result.trace} on {result.fs}, plan {plan}"
            result.timeline = result.timeline or timeline_of(log, title)
            self.all_images(JudgedRecording(case, membership, log, plan, 1))
        result.allowed = membership.allowed() if self.effort.coverage else None
        result.seen = membership.seen

    def all_images(self, recorded: JudgedRecording) -> None:
        """Every image of a first crash; from some of them, the scripts and crashes that follow."""
        effort, result = self.effort, self.result
        found = self.rig.crash_images(recorded.log, evolve(effort.bounds, seed=recorded.plan))
        self._count(found)
        chosen = found.images if effort.limit is None else found.sample(effort.limit)
        again = set(inner_places(len(chosen), effort.again if self.subject and self.scripts else 0))
        began = self.clock()
        mounts = self.rig.images(recorded.log, chosen, only_read=self.subject is None)
        for number, (image, mounted) in enumerate(zip(chosen, mounts, strict=True)):
            tree = self._judge(recorded, image, mounted)
            if tree is not None and number in again:
                self._run_again(recorded, image, tree, self.scripts)
            if effort.fsck_every and number % effort.fsck_every == 0:
                result.seconds += self.clock() - began
                result.fsck_run += 1
                result.unclean += mounted.refusal is None and not mounted.fsck().clean
                began = self.clock()
        result.seconds += self.clock() - began

    def _count(self, found: CrashImages) -> None:
        self.result.tried.update(found.tried)
        self.result.possible.update(found.possible)

    def _run_again(
        self,
        recorded: JudgedRecording,
        image: CrashImage,
        tree: PlainTree,
        scripts: Sequence[Script],
    ) -> None:
        """Run a script on this image, record it, and crash it again; then the next script."""
        result, subject, (script, *further) = self.result, self.subject, scripts
        if subject is None:
            return
        profile = recorded.case.program.profile
        oracle = recorded.case.oracle(*recorded.progress(image.strongest))
        model_run = run_on_model(subject, profile, tree, oracle, script)
        number = next_number(oracle)
        try:
            log, run = self.rig.record_on(
                recorded.log,
                image.recipe,
                lambda make, mark: run_script(
                    subject, profile, make(subject.protocol), number, mark, script
                ),
            )
        except DeadlineError as error:
            result.hung += 1
            self._keep(HUNG, recorded, image, f"while it lived on: {error}")
            return
        result.second_recordings += 1
        if run != model_run.run:
            result.disagreeing += 1
            self._keep(DISAGREES, recorded, image, f"real: {run!r}; model: {model_run.run!r}")
            return
        self._note(recorded, image, {v.property for v in judge_run(run, oracle)}, repr(run))
        membership = ProgramMembership(model_run.case.program)
        after = JudgedRun(
            model_run.case, membership, log, recorded.plan, recorded.crash + 1, model_run
        )
        found = self.rig.crash_images(log, evolve(self.effort.bounds, seed=recorded.plan))
        self._count(found)
        chosen = found.sample(self.effort.again_limit)
        again = inner_places(len(chosen), 1 if further else 0)
        left: list[tuple[CrashImage, PlainTree]] = []
        mounts = self.rig.images_after(log, chosen)
        for place, (each, mounted) in enumerate(zip(chosen, mounts, strict=True)):
            seen = self._judge(after, each, mounted)
            if seen is not None and place in again:
                left.append((each, seen))
        for each, seen in left:  # when no image is mounted any more
            self._run_again(after, each, seen, further)

    def _look(
        self, recorded: JudgedRecording, image: CrashImage, mounted: AnyImage
    ) -> tuple[TreeSnapshot, RecoveryAnswer] | None:
        """An image's tree and what recovery answers on it; None where it cannot be had in time."""
        profile, subject = recorded.case.program.profile, self.subject
        if mounted.refusal is not None:
            self.result.refused += 1
            self._keep(REFUSED, recorded, image, f"{mounted.refusal}\n{mounted.kernel_said}")
            return None
        try:
            with deadline(self.effort.image_s):
                snapshot, answer = mounted.look(), RecoveryAnswer(None)
                if subject is not None:
                    answer = recover(subject, profile, mounted.disk(subject.protocol))
                mounted.unmount()
        except DeadlineError as error:
            self.result.hung += 1
            self._keep(HUNG, recorded, image, str(error))
            return None
        return snapshot, answer

    def _judge(
        self, recorded: JudgedRecording, image: CrashImage, mounted: AnyImage
    ) -> PlainTree | None:
        """Everything that one image has to say; its tree where it has one."""
        result, subject = self.result, self.subject
        if recorded.crash == 1:
            result.images += 1
        else:
            result.second_images += 1
        looked = self._look(recorded, image, mounted)
        if (result.images + result.second_images) % TOLD_EVERY == 0:
            report_progress(result.images + result.second_images)
        if looked is None:
            return None
        snapshot, real = looked
        result.trees.add(snapshot.digest)
        for moment in image.moments:
            asked = (snapshot, *recorded.progress(moment), moment.crash_class)
            answer = recorded.membership.ask(*asked)
            if answer is None:
                result.undecided += 1
            elif not answer:
                result.outside += 1
                why = recorded.membership.why(*asked)
                self._keep(OUTSIDE, recorded, image, f"{snapshot.in_one_line}\n  {why}")
                break
        if subject is None:
            return snapshot.plain
        expected = recorded.membership.recovered(snapshot, subject)
        if real != expected:
            result.disagreeing += 1
            self._keep(DISAGREES, recorded, image, f"real: {real!r}; model: {expected!r}")
        broken = set()
        for moments in {recorded.progress(moment) for moment in image.moments}:
            oracle = recorded.case.oracle(*moments).crashed()
            broken |= {v.property for v in oracle.judge(real.parts, real.generation)}
        self._note(recorded, image, broken, repr(real))
        return snapshot.plain

    def _note(
        self, recorded: JudgedRecording, image: CrashImage, broken: set[str], detail: str
    ) -> None:
        """Count broken properties; where one is promised, that is a finding."""
        result = self.result
        result.violations.update(broken)
        if wrong := sorted(broken & self.promised):
            result.not_allowed += 1
            self._keep(f"{' and '.join(wrong)} broken, and promised", recorded, image, detail)

    def _keep(self, kind: str, recorded: JudgedRecording, image: CrashImage, detail: str) -> None:
        moments = ", ".join(
            "{}/{} ({})".format(*recorded.progress(moment), moment.crash_class)
            for moment in image.moments
        )
        title = f"{kind}: {self.result.trace} on {self.result.fs}, plan {recorded.plan}"
        timeline = timeline_of(recorded.log, title)
        found = Finding(
            kind, recorded.plan, recorded.crash, image.recipe, moments, detail[:2000], timeline
        )
        self.result.keep(found)
