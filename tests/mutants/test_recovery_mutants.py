"""Each step of a recovery, left out or done wrongly, is refuted under a profile that is named.

The library is the real one with one change.  What no property notices is said, with what it serves.
"""

from __future__ import annotations

import pytest
from attrs import evolve, frozen

import lastgood.crashtest.subjects as subjects
from lastgood.format.names import newest_first, next_generation
from lastgood.parts.verify import check_digests, compare_part
from lastgood.protocol.plan import plan_resync
from lastgood.recovery.recovery import Scan, newest_valid, read_group
from lastgood.writer.pruner import StorePruner
from lastgood.writer.recoverer import Recoverer
from powercut.checker.exhaustive import DAMAGED, DEEP, Bound, enumerate_verdicts, parts_of
from powercut.checker.verdict import Verdict
from powercut.filesystem import ops
from powercut.profile import load_profile
from powercut.simulation.oracle import PROPERTIES
from powercut.simulation.subject import STORE, Subject, load_subject
from powercut.simulation.world import Perform, Recover, SaveLive, World
from tests import ROOT
from tests.harness.mutation import Function, slip
from tests.mutants.stores import DOWNGRADED, UPGRADED

STRONG = load_subject("lastgood:atomic_dirsync")
CHUNKED = load_subject("lastgood+chunked:atomic_dirsync")
ONE_SAVE = Bound(saves=0, parts=1, pieces=1)
TWO_SAVES = Bound(saves=1, parts=1, pieces=1)
THREE_SAVES = Bound(saves=2, parts=1, pieces=1)
TWICE = evolve(ONE_SAVE, crashes=2)


@frozen
class Question:
    """A subject under a profile, after a crash of a class, in the histories of a bound."""

    subject: Subject
    profile: str
    crash_class: str
    bound: Bound

    def ask(self, *names: str) -> dict[str, Verdict]:
        profile = load_profile(self.profile)
        return enumerate_verdicts(self.subject, profile, self.crash_class, names, self.bound)


KILLED = Question(STRONG, "posix-minimal", "process", TWO_SAVES)
KILLED_LATER = evolve(KILLED, bound=THREE_SAVES)
AT_REST = Question(STRONG, "posix-minimal", "process", DAMAGED)
LYING = Question(STRONG, "lying-drive", "power", ONE_SAVE)
CUT_TWICE = Question(STRONG, "xfs", "power", TWICE)
UPGRADE = Question(UPGRADED, "posix-minimal", "power", evolve(DEEP, parts=2, runs=400))
DOWNGRADE = Question(DOWNGRADED, "xfs", "power", TWICE)


@frozen
class Slip:
    """One change of the library, and the question and the property that refute it."""

    what: str
    function: Function
    before: str
    after: str
    question: Question
    broken: str


DIGEST = (compare_part, "if digest != part.digest:", "if False:")
CHUNK_DIGEST = (check_digests, "if digest != unit.expected(number):", "if False:")
SIZE = (compare_part, "if size_bytes != part.size_bytes:", "if False:")
FOUND = "return Group(name, path, manifest)"

SLIPS = [
    Slip("no digest check", *DIGEST, LYING, "P1"),
    Slip("no digest check, at rest", *DIGEST, AT_REST, "P1"),
    Slip("no digest check, at rest", *DIGEST, AT_REST, "P7"),
    Slip("no chunk's digest check", *CHUNK_DIGEST, evolve(LYING, subject=CHUNKED), "P1"),
    Slip(
        "no fallback",
        newest_valid,
        "rejected.append(answer)",
        "rejected.append(answer)\n            break",
        KILLED,
        "P2",
    ),
    Slip(
        "the oldest instead of the newest",
        newest_first,
        "(-name.generation,",
        "(name.generation,",
        KILLED_LATER,
        "P3",
    ),
    Slip(
        "no re-sync",
        Recoverer.recover,
        "if group is not None and group.name != durable:",
        "if False:",
        CUT_TWICE,
        "P4",
    ),
    Slip(
        "a re-sync without the store",
        plan_resync,
        "yield _last_sync(mode, store)",
        "pass",
        UPGRADE,
        "P4",
    ),
    Slip(
        "the newest generation given again", next_generation, "return 1 + max(", "return max(",
        KILLED, "P5",
    ),
    Slip(
        "the generation of what was set aside given again",
        next_generation,
        "for name in in_quarantine]",
        "for name in ()]",
        AT_REST,
        "P5",
    ),
    Slip(
        "another generation reported",
        read_group,
        FOUND,
        "return Group(GroupName(name.generation + 1, name.step), path, manifest)",
        KILLED,
        "P1",
    ),
    Slip(
        "another step reported",
        read_group,
        FOUND,
        "return Group(GroupName(name.generation, name.step + 1), path, manifest)",
        KILLED,
        "P1",
    ),
    Slip(
        "a prune before what justifies it is durable",
        StorePruner.prune,
        "self._recoverer.durable",
        "newest",
        DOWNGRADE,
        "P2",
    ),
]  # fmt: skip


@pytest.mark.parametrize("each", SLIPS, ids=lambda slip: f"{slip.what}: {slip.broken}")
def test_a_recovery_is_refuted_that_has(each: Slip, monkeypatch: pytest.MonkeyPatch) -> None:
    slip(monkeypatch, each.function, each.before, each.after)

    assert each.question.ask(each.broken)[each.broken].verdict == "fails"


@pytest.mark.parametrize("question", [KILLED, KILLED_LATER, AT_REST, CUT_TWICE, DOWNGRADE])
def test_the_library_as_it_is_holds_there(question: Question) -> None:
    """Elsewhere the drive that lies is asked about (test_promises.py), and the upgrade.

    P5 always: a library whose every save fails would keep the others.
    """
    names = sorted({"P5", *(each.broken for each in SLIPS if each.question == question)})

    assert {name: v.verdict for name, v in question.ask(*names).items()} == dict.fromkeys(
        names, "holds"
    )


def test_without_a_digest_check_p1_holds_on_ext4_and_the_verdict_says_that_nothing_tried_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = evolve(LYING, profile="ext4-ordered", bound=TWO_SAVES)
    told = honest.ask("P1")["P1"]
    slip(monkeypatch, *DIGEST)

    assert honest.ask("P1")["P1"] == told
    assert (told.verdict, told.exhaustive) == ("holds", True)
    assert [each.partition(": ")[2] for each in told.missed] == ["nothing tried the digest check"]


def reason_of_a_cut_part() -> str:
    """The reason that is given for a group whose part was cut short."""
    world = World(load_profile("posix-minimal"), STRONG)
    name = "gen-00000001-step-00000001"
    cut = ops.Damage(f"{STORE}/{name}/part1", "truncated")
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subjects, "_reasons", lambda scan: noted(scan, said))
        for step in (SaveLive(1, parts_of(1, 1)), Perform("cut", cut), Recover()):
            world.apply(step)
    (reason,) = said
    return reason.partition(":")[0]


def noted(scan: Scan, said: list[str]) -> dict[str, str]:
    reasons = {each.name: each.reason for each in scan.rejected}
    said += reasons.values()
    return reasons


def test_the_size_check_serves_the_reason_and_no_property_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another size is another digest: without the check a cut is told as changed bytes."""
    assert reason_of_a_cut_part() == "size_mismatch"

    slip(monkeypatch, *SIZE)

    assert reason_of_a_cut_part() == "sha_mismatch"
    assert {v.verdict for v in AT_REST.ask(*PROPERTIES).values()} == {"holds"}


def test_the_document_has_each_of_them() -> None:
    page = (ROOT / "docs/mutants.md").read_text(encoding="utf-8")
    table = page.partition("| recovery has |")[2].partition("\n\n")[0]

    assert table.splitlines()[2:] == [
        f"| {s.what} | `{s.question.profile}` | {s.question.crash_class} | {s.broken} |"
        for s in SLIPS
    ]
