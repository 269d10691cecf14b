"""Litmus tests: a tiny program, one question, and an answer for each profile.

The answer is `never`, `sometimes` or `always`: how often, among all crash states, what the test
asks about is seen.  A test also pins the number of distinct states.  docs/traces.md describes the
form; traces/README.md lists the tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import even_cuts
from powercut.filesystem import ops
from powercut.filesystem.content import STALE, Content, Data
from powercut.filesystem.inodes import File, Tree, VisibleTree, resolve, visible_tree
from powercut.filesystem.state import State
from powercut.profile import CRASH_CLASSES, Profile, profile_names
from powercut.simulation.world import Perform
from powercut.trace.trace_file import READ, parse_data, parse_steps

ANSWERS: Final = ("never", "sometimes", "always")


@frozen
class Condition:
    """One condition on a crash state: what `path` is, and its exact content where that is given.

    `at` are bytes at offsets; None stands for bytes that nobody wrote to the file.
    """

    path: str
    kind: str
    content: Data | None = None
    at: tuple[tuple[int, int | None], ...] = ()

    def holds(self, tree: Tree) -> bool:
        """The condition holds in that tree."""
        try:
            inode = tree[resolve(tree, self.path)]
        except OSError:
            return self.kind == "missing"
        kind = "file" if isinstance(inode, File) else "directory"
        if kind != self.kind:
            return False
        if not isinstance(inode, File):
            return True
        read = inode.content.read()
        if self.content is not None and read != self.content:
            return False
        return all(_holds_at(inode.content, offset, byte) for offset, byte in self.at)


def _holds_at(content: Content, offset: int, byte: int | None) -> bool:
    """The byte at an offset is the one asked for, or, for None, one that nobody wrote."""
    run = next((run for run in content.runs if run.start <= offset < run.stop), None)
    if offset >= content.size:
        return False
    if byte is None:
        return run is not None and run.payload is STALE
    if run is None:
        return byte == 0
    return run.payload is not STALE and run.cut(offset, offset + 1).read()[0] == byte


@frozen
class Litmus:
    """A program, the conditions asked about together, and the expected answers and counts.

    `setup` is durable before the test begins.  The crash comes `anywhere`, or at the `end`.
    `quiet` are the answers of profiles with quiet rules, while the kernel commits nothing itself.
    """

    name: str
    question: str
    setup: tuple[Perform, ...]
    steps: tuple[Perform, ...]
    crash: str
    crash_class: str
    pieces: int
    ask: tuple[Condition, ...]
    answers: Mapping[str, str]
    states: Mapping[str, int]
    quiet: Mapping[str, str]


@frozen
class LitmusOutcome:
    """What one profile answers: the answer, and every distinct crash state."""

    answer: str
    looks: frozenset[VisibleTree]


def read_litmus(path: Path) -> Litmus:
    """The litmus test in a file. TraceError, naming the file."""
    where = str(path)
    raw = READ.file(path)
    known = {"schema", "kind", "question", "setup", "steps", "crash", "crash_class", "pieces"}
    READ.keys(raw, known | {"ask", "answers", "states", "quiet"}, where)
    if raw.get("schema") != 1 or raw.get("kind") != "litmus":
        raise READ.fail(where, 'expected schema = 1 and kind = "litmus"')
    answers = _by_profile(raw, "answers", where)
    READ.keys(raw.get("answers", {}), ANSWERS, f"{where}: answers")
    states = _by_profile(raw, "states", where)
    if set(states) != set(answers):
        odd = ", ".join(sorted(set(states) ^ set(answers)))
        raise READ.fail(where, f"answers and states speak of different profiles: {odd}")
    quiet = _by_profile(raw, "quiet", where)
    return Litmus(
        name=path.stem,
        question=READ.typed(raw, "question", str, where),
        setup=_program(READ.optional(raw, "setup", list, [], where), f"{where}: setup"),
        steps=_program(READ.typed(raw, "steps", list, where), where),
        crash=READ.one_of(raw, "crash", ("anywhere", "end"), where),
        crash_class=READ.one_of(
            {"crash_class": "power", **raw}, "crash_class", CRASH_CLASSES[1:], where
        ),
        pieces=READ.count({"pieces": 2, **raw}, "pieces", where, least=1),
        ask=tuple(_seen(table, where) for table in READ.typed(raw, "ask", list, where)),
        answers=answers,
        states={profile: int(count) for profile, count in states.items()},
        quiet=quiet,
    )


def _by_profile(raw: Mapping[str, Any], key: str, where: str) -> dict[str, str]:
    """A table from values to lists of profiles, as one from profiles to values."""
    found: dict[str, str] = {}
    here = f"{where}: {key}"
    table = READ.optional(raw, key, dict, {}, where)
    for value in table:
        if key == "states" and not (value.isdecimal() and int(value) > 0):
            raise READ.fail(here, f"{value!r} is no number of states")
        for profile in READ.strings(table, value, here):
            if profile in found:
                raise READ.fail(here, f"{profile!r} is there twice")
            found[profile] = value
    READ.keys(found, profile_names(), here)
    return found


def _program(raw: Sequence[Any], where: str) -> tuple[Perform, ...]:
    steps = parse_steps(raw, where)
    program = tuple(step for step in steps if isinstance(step, Perform))
    if len(program) != len(steps):
        raise READ.fail(where, "a litmus test has ops only")
    if any(isinstance(step.op, ops.Damage) for step in program):
        raise READ.fail(where, "a litmus test has no damage: no rule speaks of it")
    return program


def _seen(table: dict[str, Any], where: str) -> Condition:
    READ.keys(table, {"path", "is", "text", "hex", "at"}, f"{where}: ask")
    kind = READ.one_of(table, "is", ("file", "directory", "missing"), f"{where}: ask")
    content = None
    if "text" in table or "hex" in table:
        content = parse_data({k: v for k, v in table.items() if k in ("text", "hex")}, where)
    at = tuple(_at(pair, f"{where}: ask") for pair in READ.optional(table, "at", list, [], where))
    return Condition(READ.typed(table, "path", str, where), kind, content, at)


def _at(pair: Any, where: str) -> tuple[int, int | None]:
    """An offset and the character there; "?" is a byte that nobody wrote to the file."""
    if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], int)):
        raise READ.fail(where, f"at holds {pair!r}, expected [offset, character]")
    offset, character = pair
    if not isinstance(character, str) or len(character.encode("latin-1", "replace")) != 1:
        raise READ.fail(where, f"at holds {character!r}, expected one character")
    return offset, None if character == "?" else character.encode("latin-1", "replace")[0]


def _points(litmus: Litmus) -> list[State]:
    """The states between the steps and inside them. TraceError: the kernel refuses a step."""
    state = State()
    at = "the beginning"
    try:
        for step in litmus.setup:
            at = f"setup, {step.id}"
            state = state.perform(step.op, step.id)
        state = State.settled(state.view, state.next_inode)
        points = [state]
        for step in litmus.steps:
            at = f"step {step.id}"
            points.append(state.begin(step.op, step.id))
            state = state.perform(step.op, step.id)
            points.append(state)
    except OSError as error:
        raise READ.fail(f"{litmus.name}: {at}", f"the kernel refuses it: {error}") from error
    return points


def run_litmus(litmus: Litmus, profile: Profile) -> LitmusOutcome:
    """Every crash state of the test under one profile, and the answer that they give.

    TraceError where the kernel refuses a step of the test.
    """
    points = _points(litmus)
    looks: set[VisibleTree] = set()
    seen: set[bool] = set()
    for point in points if litmus.crash == "anywhere" else points[-1:]:
        cuts = even_cuts(profile, litmus.pieces)
        for _, _, after in CrashSpace.of(point, profile, litmus.crash_class, cuts).states():
            looks.add(visible_tree(after.base))
            seen.add(all(condition.holds(after.base) for condition in litmus.ask))
    answer = "sometimes" if len(seen) == 2 else "always" if True in seen else "never"
    return LitmusOutcome(answer, frozenset(looks))
