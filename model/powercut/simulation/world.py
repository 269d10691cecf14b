"""A world: one disk, one subject and the oracle, moved forward step by step.

The steps are also what a trace is made of.  A `Perform` is one op as it stands; `Begin` and
`Ack` mark a save; `Recover` and `SaveLive` run the subject's own code, to the end or to its
`stop`-th op, where it dies; `CrashStep` says what a crash left.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, evolve, field, frozen

from powercut.crash.space import Crash, CrashSpace
from powercut.crash.torn_writes import GIVEN, TAKEN, Cuts
from powercut.errors import IllegalCrashError, TraceError
from powercut.filesystem import ops
from powercut.filesystem.events import Entry, Event
from powercut.filesystem.inodes import Tree
from powercut.filesystem.state import State
from powercut.profile import Profile
from powercut.simulation import detection
from powercut.simulation.encounters import Cause, Encounters, WrongParts, wrong_parts
from powercut.simulation.model_disk import ModelDisk, PowerCut
from powercut.simulation.oracle import Oracle, Violation
from powercut.simulation.subject import Recovered, Session, Subject, passed_over


@frozen
class Perform:
    """One op, under its name, of a thread if it names one.

    Where `numbered` is false, later ops keep the names they had.  An op ends the live process, but
    for a `Damage`, which comes beneath it.
    """

    id: str
    op: ops.Op
    numbered: bool = True
    thread: str = ""


@frozen
class Begin:
    """A save begins; from here on its content may be found."""

    number: int
    parts: Mapping[str, bytes]


@frozen
class Ack:
    """That save returns."""

    number: int


@frozen
class Recover:
    """The subject's writable recovery; with `stop`, it dies before its op of that number."""

    stop: int | None = None


@frozen
class SaveLive:
    """The subject's save; with `stop`, it dies before its op of that number."""

    number: int
    parts: Mapping[str, bytes]
    stop: int | None = None


@frozen
class CrashStep:
    """A crash and what it left."""

    crash: Crash


Step = Perform | Begin | Ack | Recover | SaveLive | CrashStep


@define
class World:
    """One history under one profile. `subject` may be None where no step runs its code.

    `ops_done` counts the ops before the live process; it numbers the ops to come.  `met` is what
    its recoveries met, `wrong` what they would meet now.
    """

    profile: Profile
    subject: Subject | None = None
    state: State = field(factory=State)
    oracle: Oracle = field(factory=Oracle)
    steps: list[Step] = field(factory=list)
    violations: list[Violation] = field(factory=list)
    ops_done: int = 0
    met: Encounters = field(factory=Encounters)
    wrong: WrongParts = field(factory=dict)
    _disk: ModelDisk | None = None
    _session: Session | None = None

    def __attrs_post_init__(self) -> None:
        if self.subject is not None:
            self.oracle = evolve(self.oracle, keeps=self.subject.keeps)

    def apply(self, step: Step) -> None:
        """Move on by one step and note what it breaks.

        OSError where an op is impossible, IllegalCrashError where a crash is; nothing moved then.
        """
        match step:
            case Perform(id=op_id, op=ops.Damage() as op, thread=""):
                self._damage(op, op_id)
            case Perform(id=op_id, op=op, numbered=numbered, thread=thread):
                self._end_process()
                self.state = self.state.perform(op, op_id, thread)
                self.ops_done += numbered
            case Begin(number=number, parts=parts):
                self.oracle = self.oracle.begin(number, parts)
            case Ack(number=number):
                self._acknowledge(number)
            case CrashStep(crash=crash):
                self._end_process()
                before, self.state = self.state.view, after_crash(self.state, self.profile, crash)
                self._find_wrong(before, "crash")
                self.oracle = self.oracle.crashed()
            case Recover(stop=stop):
                self._recover(stop)
            case SaveLive():
                self._save(step)
        self.steps.append(step)

    @property
    def program(self) -> list[tuple[str, ops.Op, State]]:
        """The ops of the live process so far, each with the state after it."""
        return self._disk.program if self._disk else []

    def _damage(self, op: ops.Damage, op_id: str) -> None:
        """Let something go bad, beneath the live process if there is one; the oracle learns it."""
        before = self.state.view
        if self._disk is None:
            self.state = self.state.perform(op, op_id)
            self.ops_done += 1
        else:
            self._disk.damage(op, op_id)
            self._keep_state()
        self._find_wrong(before, "damage")
        self.oracle = detection.damage(self.oracle, before, op)
        self.met.damaged |= bool(self.oracle.damaged)

    def _find_wrong(self, before: Tree, cause: Cause) -> None:
        saves = self.oracle.saves
        self.wrong = wrong_parts(self.wrong, before, self.state.view, saves, cause)

    def _recover(self, stop: int | None) -> None:
        if self._session is None:
            self._read_only()
        before, owed = self.state.view, self.oracle
        may_have = tuple(owed.saves)
        if self._disk is not None:
            self._disk.files_read.clear()
        try:
            session = self._open(stop)
            found = session.recover()
        except PowerCut:
            self._keep_state()
        except Exception as error:
            self.violations += self._judge_error(error)
            self._keep_state()
        else:
            self._keep_state()
            said = passed_over(session if found is None else found)
            parts = self._judge_answer(owed, before, found, said)
            self.oracle = owed.recover(parts, None if found is None else found.generation)
            number = owed.number_of(parts)
            may_have = (number,) if number else ()
            self._look_for(*may_have)
        self._note_reads(self._disk)
        self.violations += detection.judge_tree(owed, before, self.state.view, may_have)

    def _read_only(self) -> None:
        """Let a reader load first: it owes P1 to P3 as well, and must change nothing."""
        if self.subject is None:
            raise TraceError("this trace runs a subject's code, and names no subject")
        disk = ModelDisk(self.state, self.ops_done)
        try:
            found = self.subject.read(disk)
        except Exception as error:
            self.violations += self._judge_error(error)
            return
        finally:
            self._note_reads(disk)
        # What is owed to a clean save is asked of the writable recovery that follows.
        owed = evolve(self.oracle, recovered=frozenset(), clean=0)
        said = None if found is None else passed_over(found)
        self._judge_answer(owed, self.state.view, found, said)
        if disk.program:
            what = f"a read-only load performed {ops.op_name(disk.program[0][1])}"
            self.violations.append(Violation("P4", what))

    def _judge_answer(
        self,
        owed: Oracle,
        before: Tree,
        found: Recovered | None,
        said: Mapping[str, str] | None,
    ) -> Mapping[str, bytes] | None:
        """Note what a recovery breaks by its answer about the store as it was before; its parts."""
        self.met.returned |= found is not None
        parts = None if found is None else found.parts
        generation = None if found is None else found.generation
        self.violations += owed.judge(parts, generation, getattr(found, "step", None))
        self.violations += detection.judge_answer(owed, before, parts, said)
        return parts

    def _note_reads(self, disk: ModelDisk | None) -> None:
        """Note which wrong parts a recovery has read, whatever it did then."""
        self.met.acknowledged |= bool(self.oracle.returned)
        read = () if disk is None else disk.files_read & self.wrong.keys()
        self.met.wrong_parts |= {self.wrong[number] for number in read}

    def _save(self, step: SaveLive) -> None:
        self.oracle = self.oracle.begin(step.number, step.parts)
        there = detection.left_in(self.oracle, self.state.view)
        try:
            generation = self._open(step.stop).save(step.number, step.parts)
        except PowerCut:
            self._keep_state()
            return
        except Exception as error:
            self.violations += self.oracle.judge_error("the next save", error)
            self._keep_state()
            return
        self._keep_state()
        self.violations += self.oracle.judge_generation(generation, there)
        self._acknowledge(step.number, generation)

    def _acknowledge(self, number: int, generation: int | None = None) -> None:
        self.oracle = self.oracle.acknowledge(number, generation)
        self._look_for(number)

    def _look_for(self, *numbers: int) -> None:
        """Let the oracle know where saves lie that it has not seen yet."""
        for number in numbers:
            if number not in self.oracle.homes:
                self.oracle = detection.settle_in(self.oracle, self.state.view, number)

    def _judge_error(self, error: Exception) -> list[Violation]:
        """What a recovery breaks by its error; `self.state` is still the store that it met."""
        is_any_left = bool(detection.undamaged_in(self.oracle, self.state.view))
        return self.oracle.judge_error("recovery", error, is_any_left=is_any_left)

    def _open(self, stop: int | None) -> Session:
        """The live session; a process is started where none is."""
        if self.subject is None:
            raise TraceError("this trace runs a subject's code, and names no subject")
        if self._session is None or self._disk is None:
            self._disk = ModelDisk(self.state, self.ops_done)
            self._disk.stop_after(stop)
            self._session = self.subject.open(self._disk, self.profile)
        else:
            self._disk.stop_after(stop)
        return self._session

    def _keep_state(self) -> None:
        if self._disk is not None:
            self.state = self._disk.state

    def _end_process(self) -> None:
        self._keep_state()
        self.ops_done += len(self.program)
        self._disk = self._session = None


def after_crash(state: State, profile: Profile, crash: Crash) -> State:
    """The state that a crash leaves, by the names of what it lost. IllegalCrashError."""
    if crash.crash_class == "process":
        if crash.lost or crash.stale:
            raise IllegalCrashError("a process kill loses nothing that the kernel has")
        return state.killed()  # what the kernel has, it keeps
    space = CrashSpace.of(state, profile, crash.crash_class, cuts_in(crash))
    landed = space.everything & ~space.set_of(crash.lost)
    why = space.why_illegal(landed)
    if why is not None:
        raise IllegalCrashError(f"{profile.name} forbids this crash: {why}")
    stale = space.set_of(crash.stale)
    if stale & ~space.exposed(landed):
        names = ", ".join(space.names(stale & ~space.exposed(landed)))
        raise IllegalCrashError(f"{profile.name}: {names} cannot read stale here")
    return space.materialise(landed, stale)


def cuts_in(crash: Crash) -> Cuts:
    """The cuts that the piece names of a crash ask for: `w1.data[0:3]` cuts those data at 3."""
    wanted: dict[str, set[int]] = {}
    for name in (*crash.lost, *crash.stale):
        event, _, piece = name.rpartition("[")
        if event and piece.endswith("]") and not name.endswith((TAKEN, GIVEN)):
            start, _, stop = piece[:-1].partition(":")
            if not (start.isdecimal() and stop.isdecimal()):
                raise IllegalCrashError(f"{name!r}: a piece is written [start:stop], in bytes")
            wanted.setdefault(event, set()).update((int(start), int(stop)))

    def cuts(event: Event) -> list[int]:
        if isinstance(event, Entry):
            return []
        start, stop = event.span
        return sorted(c for c in wanted.get(event.name, ()) if start < c < stop)

    return cuts
