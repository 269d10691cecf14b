"""Runs the experiments, and says of each rule whether the clones strike it or bear it out.

The model judges: a tree is asked of the profile with the rule and of the profile without it.  No
answer here goes beyond the kernel class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, evolve, field, frozen

from powercut.filesystem.inodes import plain
from powercut.filesystem.state import State
from powercut.profile import Claim, Profile
from powercut.simulation.world import Perform
from powercut_rig.blocks.crash_images import CrashImage
from powercut_rig.errors import RigError
from powercut_rig.judge.membership import Program, ProgramMembership
from powercut_rig.judge.recovery_answer import state_of
from powercut_rig.macos.clone_recorder import count_in_file
from powercut_rig.macos.experiments.catalog import Experiment, Ops, Trial
from powercut_rig.macos.rig import CloneLog, MacRig
from powercut_rig.macos.session import own_folder
from powercut_rig.mounted.tree_reader import TreeSnapshot
from powercut_rig.mounted.writeback import drawn_plan

OUTCOMES: Final = ("strike", "add", "confirm", "open", "outside")
"""Struck; borne out while in doubt; borne out while relied on; nothing said; the model is wrong."""

_KERNEL: Final = "kernel"


@frozen
class ExperimentVerdict:
    """The result of one experiment. `outcome` is one of OUTCOMES; `because` says why in words."""

    rule: str
    question: str
    outcome: str
    because: str
    clones: int
    trees: int
    leaves_open: str

    @property
    def in_profile(self) -> str:
        """The change that the outcome would make to apfs.toml, in words."""
        return {
            "strike": f"strike {self.rule}: it does not hold for a kernel crash on this Mac",
            "add": (
                f'add [[rule]] id = "{self.rule}", evidence = "measured", classes = ["kernel"]; '
                "the rest of the doubt stays"
            ),
            "confirm": f"{self.rule} stays; it may say that a Mac was measured, for kernel crashes",
            "open": f"{self.rule} stays as it is",
            "outside": "the profile as a whole is too strong: look at the tree",
        }[self.outcome]


@define
class _Seen:
    """Counts of what the clones of one experiment have shown so far."""

    plain_writes_land: bool = True
    clones: int = 0
    trees: set[int] = field(factory=set)
    struck: list[str] = field(factory=list)
    outside: list[str] = field(factory=list)
    undecided: int = 0
    could_tell: int = 0


def run_experiment(
    experiment: Experiment,
    rig: MacRig,
    profile: Profile,
    on_progress: Callable[[str], None] = lambda _: None,
    *,
    plain_writes_land: bool = True,
) -> ExperimentVerdict:
    """Run one experiment. RigError, with everything detached, where it cannot be run to its end.

    Where `plain_writes_land` is False (see `Calibration`), nothing that a clone lacks is held
    against a rule.
    """
    seen = _Seen(plain_writes_land)
    weak, strong = with_and_without(experiment, profile)
    for number, trial in enumerate(experiment.trials):
        trial_seen = seen.could_tell
        for repeat in range(experiment.repeats):
            on_progress(f"{experiment.rule}: {trial.name}, {repeat + 1} of {experiment.repeats}")
            with own_folder(rig, f"{experiment.rule}-{number}-{repeat}") as own:
                _run(trial, own, weak, strong, repeat, seen)
        if seen.could_tell == trial_seen and not (seen.struck or seen.outside):
            return _answer(experiment, profile, seen, f"in the trial {trial.name!r}")
    return _answer(experiment, profile, seen, "")


def run_experiment_or_explain(
    experiment: Experiment,
    rig: MacRig,
    profile: Profile,
    on_progress: Callable[[str], None],
    *,
    plain_writes_land: bool,
) -> ExperimentVerdict:
    """The same; one that cannot be run to its end is open, and the others can go on."""
    try:
        return run_experiment(
            experiment, rig, profile, on_progress, plain_writes_land=plain_writes_land
        )
    except (RigError, OSError) as error:
        because = f"it could not be run to its end: {error}"
        return ExperimentVerdict(
            experiment.rule, experiment.question, "open", because, 0, 0, experiment.leaves_open
        )


def with_and_without(experiment: Experiment, profile: Profile) -> tuple[Profile, Profile]:
    """The profile without the rule (and what covers the same), and with it."""
    claims = {claim.rule.id: claim for claim in (*profile.claims, *profile.unknown)}
    weak = profile
    for rule in (experiment.rule, *experiment.also):
        weak = weak.without(rule)
    added: tuple[Claim, ...] = tuple(claims[r] for r in (experiment.rule, *experiment.also))
    return weak, evolve(weak, claims=(*weak.claims, *added))


def programs(trial: Trial, ops: Ops, *profiles: Profile) -> Iterator[Program]:
    """Some ops of a trial as a program of the model, under each profile."""
    state = State()
    for number, op in enumerate(trial.setup):
        state = state.perform(op, f"setup-{number}")
    start = state_of(plain(state.view))
    steps = tuple(Perform(str(number), op) for number, op in enumerate(ops))
    for profile in profiles:
        yield Program(steps, profile, start)


def _run(
    trial: Trial, rig: MacRig, weak: Profile, strong: Profile, repeat: int, seen: _Seen
) -> None:
    """Record a trial once, and its control where it has one; judge every clone."""
    without, with_rule = (ProgramMembership(p) for p in programs(trial, trial.ops, weak, strong))
    log = _recorded(rig, trial, trial.ops, repeat)
    unused_bytes = _bytes_never_filled(log, trial)
    for image, snapshot in _snapshots(rig, log):
        seen.clones += image.recipes
        seen.trees.add(snapshot.digest)
        for moment in image.moments:
            at = (moment.progress.ops_completed, moment.progress.ops_begun, _KERNEL)
            allowed, strictly = without.ask(snapshot, *at), with_rule.ask(snapshot, *at)
            after = f"after {at[0]} of {len(trial.ops)} ops"
            shown = f"{trial.name}, {after}: {snapshot.in_one_line}"
            if allowed is None or strictly is None:
                seen.undecided += 1
            elif not allowed:
                seen.outside.append(shown)
            elif not strictly:
                seen.struck.append(shown)
            elif (
                trial.control is None
                and _is_half_done(with_rule.program, snapshot, *at[:2])
                and _bytes_landed(snapshot) > unused_bytes
            ):
                seen.could_tell += 1
    rig.forget(log)
    if trial.control is not None:
        end = len(trial.ops)
        log = _recorded(rig, trial, trial.control, repeat)
        for image, snapshot in _snapshots(rig, log):
            seen.clones += image.recipes
            lost = with_rule.ask(snapshot, end, end, _KERNEL) is False
            if lost and image.ops_completed == len(trial.control):
                seen.could_tell += 1
        rig.forget(log)


def _recorded(rig: MacRig, trial: Trial, ops: Ops, repeat: int) -> CloneLog:
    """Some ops of a trial, recorded. Even repeats write nothing early."""
    early = drawn_plan(ops, 1 if repeat % 2 == 0 else 2 + repeat) if trial.control is None else ()
    return rig.record(ops, setup=trial.setup, writeback=early, fill=trial.fill)


def _snapshots(rig: MacRig, log: CloneLog) -> Iterator[tuple[CrashImage, TreeSnapshot]]:
    for image in log.found.images:
        yield image, rig.tree(log, image.recipe)


def _bytes_never_filled(log: CloneLog, trial: Trial) -> int:
    """The room of the image, before the first op, that did not hold the old pattern, in bytes.

    More new bytes than that cannot have landed without taking blocks of the old file.  Where a
    drive that was told of freed blocks has dropped them, the pattern is gone, and this is all.
    """
    if not trial.fill:
        return -1
    base = log.clones[min(log.clones)]
    return base.stat().st_size - len(trial.fill) * count_in_file(base, trial.fill)


def _bytes_landed(snapshot: TreeSnapshot) -> int:
    """The number of bytes that are not zero in the files that a clone shows."""
    contents = [content for content in snapshot.plain.values() if content]
    return sum(len(content) - content.count(0) for content in contents)


def _is_half_done(program: Program, snapshot: TreeSnapshot, completed: int, begun: int) -> bool:
    """The clone shows neither what was there at first nor all that was done by then."""
    whole = plain(program.states(completed, begun)[-1].view)
    start = plain(program.start.view)
    return snapshot.plain not in (_named(whole), _named(start))


def _named(tree: dict[str, bytes | None]) -> dict[str, bytes | None]:
    return {path.removeprefix("/"): content for path, content in tree.items()}


def _answer(experiment: Experiment, profile: Profile, seen: _Seen, where: str) -> ExperimentVerdict:
    outcome, because = "open", ""
    if not seen.plain_writes_land and (seen.outside or seen.struck):
        because = (
            f"a plain write was not seen to reach the image file of this Mac, so this proves "
            f"nothing: {(seen.outside or seen.struck)[0]}"
        )
    elif seen.outside:
        outcome, because = "outside", seen.outside[0]
    elif seen.struck:
        outcome, because = "strike", f"{len(seen.struck)} times, first {seen.struck[0]}"
    elif seen.undecided:
        because = f"the model could not decide {seen.undecided} looks"
    elif where or not seen.could_tell:
        because = (
            f"the clones could not have told {where}: no control lost anything and no program was "
            "seen half done, or none where blocks of the old file were surely used again"
        )
    else:
        outcome = "confirm" if profile.has(experiment.rule) else "add"
        because = (
            f"{seen.clones} clones, {len(seen.trees)} trees, none against it; {seen.could_tell} "
            "times it could have shown"
        )
    return ExperimentVerdict(
        experiment.rule,
        experiment.question,
        outcome,
        " ".join(because.split()),
        seen.clones,
        len(seen.trees),
        experiment.leaves_open,
    )
