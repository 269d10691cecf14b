"""The result of a trace on a disk: counts, examples, and the part of the model that was seen."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from attrs import define, field, frozen

from powercut.profile import Limit
from powercut.report.timeline import Timeline
from powercut_rig.blocks.block_log import Recipe

EXAMPLES_MAX: Final = 5

OUTSIDE: Final = "outside the model"
REFUSED: Final = "does not mount"
HUNG: Final = "not done within its deadline"
DISAGREES: Final = "recovery disagrees with the model's disk"


@frozen
class Finding:
    """One image that the model does not account for, and how to make it again.

    `plan` is the number of the write-back plan of its recording; `crash` 1, or 2 and
    more for an image of a process that lived on and was itself cut off.
    """

    kind: str
    plan: int
    crash: int
    recipe: Recipe
    moment: str
    detail: str
    timeline: Timeline | None = field(default=None, repr=False)


@define
class Comparison:
    """The result of one trace on one file system, over all its recordings."""

    trace: str
    fs: str
    profile: str
    subject: str | None
    judged: str
    expected: str
    limits: tuple[Limit, ...] = ()
    plans: set[int] = field(factory=set)
    syncs: int = 0
    syncs_unflushed: int = 0
    flushes: int = 0
    images: int = 0
    second_recordings: int = 0
    second_images: int = 0
    tried: Counter[str] = field(factory=Counter)
    possible: Counter[str] = field(factory=Counter)
    outside: int = 0
    undecided: int = 0
    refused: int = 0
    hung: int = 0
    disagreeing: int = 0
    unclean: int = 0
    fsck_run: int = 0
    violations: Counter[str] = field(factory=Counter)
    not_allowed: int = 0
    trees: set[int] = field(factory=set)
    allowed: set[int] | None = field(factory=set)
    seen: set[int] = field(factory=set)
    seconds: float = 0.0
    findings: list[Finding] = field(factory=list)
    errors: list[str] = field(factory=list)
    timeline: Timeline | None = field(default=None, repr=False)

    @property
    def considered(self) -> int:
        """Recipes tried, before equal contents were merged."""
        return self.tried.total()

    @property
    def model_states(self) -> int | None:
        """The number of distinct trees of the model at the moments looked at; None: too many."""
        return None if self.allowed is None else len(self.allowed)

    @property
    def model_states_seen(self) -> int:
        """The number of the model's trees that were on the disk."""
        return len(self.seen)

    @property
    def images_per_s(self) -> float:
        """Images mounted, read, recovered and judged in a second of one worker; fsck apart."""
        every = self.images + self.second_images
        return every / self.seconds if self.seconds else 0.0

    @property
    def reproduced(self) -> bool:
        """A trace that fails was seen to fail on this disk; always so for one that holds."""
        return self.expected == "holds" or self.violations[self.judged] > 0

    @property
    def agrees(self) -> bool:
        """No image is outside the model, and nothing broke that the model does not let break."""
        wrong = self.outside or self.refused or self.hung or self.disagreeing or self.not_allowed
        return not (wrong or self.errors)

    def keep(self, finding: Finding) -> None:
        """Keep an example, the first few of each kind."""
        if sum(each.kind == finding.kind for each in self.findings) < EXAMPLES_MAX:
            self.findings.append(finding)

    def add(self, other: Comparison) -> None:
        """Take in what another recording of the same trace on the same file system found."""
        for name in (
            "images", "second_recordings", "second_images", "outside", "undecided", "refused",
            "hung", "disagreeing", "unclean", "fsck_run", "not_allowed", "seconds",
            "syncs", "syncs_unflushed", "flushes",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for counter in ("tried", "possible", "violations"):
            getattr(self, counter).update(getattr(other, counter))
        for union in ("plans", "trees", "seen"):
            getattr(self, union).update(getattr(other, union))
        if self.allowed is None or other.allowed is None:
            self.allowed = None
        else:
            self.allowed |= other.allowed
        for finding in other.findings:
            self.keep(finding)
        self.errors += other.errors
        self.limits = self.limits or other.limits
        self.timeline = self.timeline or other.timeline

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
            "recordings": len(self.plans),
            "images": {
                "mounted": self.images,
                "distinct_trees": len(self.trees),
                "recipes": self.considered,
                "refused": self.refused,
                "hung": self.hung,
                "tried": dict(self.tried),
                "possible": dict(self.possible),
            },
            "second_crash": {"recordings": self.second_recordings, "images": self.second_images},
            "outside_model": self.outside,
            "undecided": self.undecided,
            "recovery_disagrees": self.disagreeing,
            "violations": dict(sorted(self.violations.items())),
            "violations_not_allowed": self.not_allowed,
            "model_states": {"all": self.model_states, "seen": self.model_states_seen},
            "syncs": {
                "returned": self.syncs,
                "without_flush": self.syncs_unflushed,
                "flushes": self.flushes,
            },
            "fsck": {"run": self.fsck_run, "unclean": self.unclean},
            "images_per_s": round(self.images_per_s, 1),
            "findings": [
                {
                    "kind": each.kind,
                    "plan": each.plan,
                    "crash": each.crash,
                    "recipe": str(each.recipe),
                    "moment": each.moment,
                    "detail": each.detail,
                }
                for each in self.findings
            ],
            "errors": self.errors,
            "limits": [limit.to_json() for limit in self.limits],
        }
