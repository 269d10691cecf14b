"""Traces: a history with its verdict, as TOML that people read, edit and replay.

docs/traces.md describes the format.  Reading is strict: an unknown key, op or property is an
error that names the file and the step, and nothing is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import NOTHING, field, fields, frozen

from powercut.crash.space import POWER_AFTER_KERNEL, Crash
from powercut.errors import TraceError
from powercut.filesystem import ops
from powercut.filesystem.content import Data, Fill
from powercut.profile import CRASH_CLASSES
from powercut.rules import RULES
from powercut.simulation.oracle import PROPERTIES
from powercut.simulation.world import Ack, Begin, CrashStep, Perform, Recover, SaveLive, Step
from powercut.strict_reader import StrictReader

READ: Final = StrictReader(TraceError)
_DATA_KEYS: Final = ("text", "hex", "fill")


@frozen
class Trace:
    """A history, what it is about, and the verdict that replaying it must give.

    A `pinned` trace holds the ops of the process under test themselves: its verdict never changes.
    A `regression` runs a subject's code at every step: mending the subject turns its verdict.
    `needs` are the permissions of the profile without which one of its crashes is illegal.
    """

    kind: str
    profile: str
    property: str
    verdict: str
    steps: tuple[Step, ...]
    subject: str | None = None
    because: str = ""
    needs: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(factory=dict)


def read_trace(path: Path) -> Trace:
    """The trace in a file. TraceError, naming the file, where it is not one."""
    return _trace(READ.file(path), str(path))


def parse_trace(text: str, where: str) -> Trace:
    """The trace in `text`; `where` names it in errors. TraceError."""
    return _trace(READ.toml(text, where), where)


def _trace(raw: dict[str, Any], where: str) -> Trace:
    known = {"schema", "kind", "profile", "property", "verdict", "steps", "subject", "because"}
    READ.keys(raw, known | {"origin", "needs"}, where)
    READ.schema(raw, where)
    steps = parse_steps(READ.typed(raw, "steps", list, where), where)
    subject = READ.optional(raw, "subject", str, None, where)
    if subject is None and any(isinstance(step, Recover | SaveLive) for step in steps):
        raise READ.fail(where, "it runs a subject's code, and the key 'subject' is missing")
    return Trace(
        kind=READ.one_of(raw, "kind", ("pinned", "regression"), where),
        profile=READ.typed(raw, "profile", str, where),
        property=READ.one_of(raw, "property", tuple(PROPERTIES), where),
        verdict=READ.one_of(raw, "verdict", ("holds", "fails"), where),
        steps=steps,
        subject=subject,
        because=READ.optional(raw, "because", str, "", where),
        needs=_permissions(raw, where),
        origin=READ.texts(raw, "origin", where),
    )


def _permissions(raw: dict[str, Any], where: str) -> tuple[str, ...]:
    known = [rule.id for rule in RULES.values() if rule.permits]
    needs = READ.strings(raw, "needs", where)
    for rule_id in needs:
        if rule_id not in known:
            raise READ.fail(
                where, f"needs names {rule_id!r}, expected permissions: {', '.join(known)}"
            )
    return needs


def parse_steps(raw: Sequence[Any], where: str) -> tuple[Step, ...]:
    """The steps of a trace or a litmus test. TraceError names the step by its position."""
    steps: list[Step] = []
    ids: set[str] = set()
    begun: set[int] = set()
    for position, table in enumerate(raw, start=1):
        here = f"{where}: step {position}"
        step = parse_step(table, here)
        if isinstance(step, Perform):
            if step.id in ids:
                raise READ.fail(here, f"the id {step.id!r} is taken by an earlier step")
            ids.add(step.id)
        elif isinstance(step, Begin | SaveLive):
            begun.add(step.number)
        elif isinstance(step, Ack) and step.number not in begun:
            raise READ.fail(here, f"save {step.number} is acknowledged and never began")
        elif isinstance(step, CrashStep):
            _check_class(step, steps, here)
        steps.append(step)
    performed = [(n, step.op) for n, step in enumerate(steps, 1) if isinstance(step, Perform)]
    refused = unmapped([op for _, op in performed])
    if refused is not None:
        raise READ.fail(f"{where}: step {performed[refused[0]][0]}", refused[1])
    return tuple(steps)


def _check_class(step: CrashStep, earlier: Sequence[Step], where: str) -> None:
    """Refuse a power cut after a crash of the kernel. TraceError."""
    if step.crash.crash_class != "power":
        return
    for position, other in enumerate(earlier, start=1):
        if isinstance(other, CrashStep) and other.crash.crash_class == "kernel":
            raise READ.fail(
                where,
                f"crash is 'power' and that of step {position} 'kernel': {POWER_AFTER_KERNEL}",
            )


def parse_step(table: Any, where: str) -> Step:
    """One step, by the key that says what it is: op, mark, run or crash."""
    if not isinstance(table, dict):
        raise READ.fail(where, f"expected an inline table, found {table!r}")
    if "op" in table:
        thread = READ.optional(table, "thread", str, "", where)
        return Perform(READ.typed(table, "id", str, where), parse_op(table, where), thread=thread)
    if "mark" in table:
        return _parse_mark(table, where)
    if "run" in table:
        return _parse_run(table, where)
    if "crash" in table:
        READ.keys(table, {"crash", "lost", "stale"}, where)
        return CrashStep(
            Crash(
                READ.one_of(table, "crash", CRASH_CLASSES, where),
                READ.strings(table, "lost", where),
                READ.strings(table, "stale", where),
            )
        )
    raise READ.fail(where, f"expected one of the keys op, mark, run, crash; found {list(table)}")


def parse_op(table: dict[str, Any], where: str) -> ops.Op:
    """The op of a step, with exactly the arguments that it takes."""
    if table["op"] in ops.NOT_MODELLED:
        raise READ.fail(where, f"op is {table['op']!r}: {ops.NOT_MODELLED[table['op']]}")
    cls = ops.OP_NAMES[READ.one_of(table, "op", tuple(ops.OP_NAMES), where)]
    wanted = {attribute.name: attribute for attribute in fields(cls)}
    known = {"id", "op", "thread", *wanted}
    if "data" in wanted:
        known = (known - {"data"}) | set(("fill", "size") if "fill" in table else _DATA_KEYS)
    READ.keys(table, known, where)
    arguments: dict[str, Any] = {}
    for key, attribute in wanted.items():
        if key == "data":
            arguments[key] = parse_data(table, where)
        elif key == "flags":
            arguments[key] = READ.strings(table, key, where)
        elif key == "how":
            arguments[key] = READ.one_of(table, key, ops.HARMS, where)
        elif key in table or attribute.default is NOTHING:
            kind = {"offset": int, "size": int, "at": int, "fails": bool}.get(key, str)
            arguments[key] = READ.typed(table, key, kind, where)
    if arguments.get("flags") and str(arguments.get("path", "")).startswith("@"):
        raise READ.fail(
            where,
            f"flags stand beside the handle {arguments['path']!r}: a handle has those that it was "
            "opened with; give them to its `open`",
        )
    return cls(**arguments)


def unmapped(program: Sequence[ops.Op]) -> tuple[int, str] | None:
    """Where a mapped write stands that no later msync covers, and why it is refused; None for none.

    When such a write would land, nobody says.
    """
    for position, op in enumerate(program):
        if isinstance(op, ops.Mapwrite) and not any(
            isinstance(later, ops.Msync)
            and later.path == op.path
            and later.offset <= op.offset
            and op.offset + len(op.data) <= later.offset + later.size
            for later in program[position + 1 :]
        ):
            return position, f"a mapped write of {op.path} without an msync is not modelled"
    return None


def parse_data(table: Mapping[str, Any], where: str) -> Data:
    """The data of a write: exactly one of text, hex, fill (with size). TraceError."""
    given = [key for key in _DATA_KEYS if key in table]
    if len(given) != 1:
        raise READ.fail(where, f"expected exactly one of text, hex, fill; found {given}")
    if given == ["text"]:
        return str(READ.typed(table, "text", str, where)).encode()
    if given == ["hex"]:
        return _unhex(READ.typed(table, "hex", str, where), where)
    byte = READ.count(table, "fill", where)
    if byte > 255:
        raise READ.fail(where, f"fill is {byte}, expected a byte")
    return Fill(byte, READ.count(table, "size", where))


def _parse_mark(table: dict[str, Any], where: str) -> Step:
    mark = READ.one_of(table, "mark", ("begin", "ack"), where)
    number = READ.count(table, "save", where, least=1)
    if mark == "ack":
        READ.keys(table, {"mark", "save"}, where)
        return Ack(number)
    READ.keys(table, {"mark", "save", "parts", "parts_hex"}, where)
    return Begin(number, _parse_parts(table, where))


def _parse_run(table: dict[str, Any], where: str) -> Step:
    run = READ.one_of(table, "run", ("recover", "save"), where)
    stop = READ.count(table, "stop", where) if "stop" in table else None
    if run == "recover":
        READ.keys(table, {"run", "stop"}, where)
        return Recover(stop)
    READ.keys(table, {"run", "stop", "save", "parts", "parts_hex"}, where)
    number = READ.count(table, "save", where, least=1)
    return SaveLive(number, _parse_parts(table, where), stop)


def _parse_parts(table: dict[str, Any], where: str) -> dict[str, bytes]:
    """The contents of a group: readable ones under `parts`, others in hex."""
    parts = {name: text.encode() for name, text in READ.texts(table, "parts", where).items()}
    for name, value in READ.texts(table, "parts_hex", where).items():
        if name in parts:
            raise READ.fail(where, f"part {name!r} is in parts and in parts_hex")
        parts[name] = _unhex(value, where)
    return parts


def _unhex(value: str, where: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError as error:
        raise READ.fail(where, f"{value[:32]!r} is not hex: {error}") from error


def render_trace(trace: Trace) -> str:
    """The trace as TOML, one step a line; the same trace gives the same bytes."""
    lines = [
        f"# {_title(trace)}",
        "schema = 1",
        f"kind = {_quote(trace.kind)}",
        *([f"subject = {_quote(trace.subject)}"] if trace.subject is not None else []),
        f"profile = {_quote(trace.profile)}",
        f"property = {_quote(trace.property)}",
        f"verdict = {_quote(trace.verdict)}",
        *([f"because = {_quote(trace.because)}"] if trace.because else []),
        *([f"needs = {_value(list(trace.needs))}"] if trace.needs else []),
    ]
    if trace.origin:
        lines.append(f"origin = {_table(dict(trace.origin))}")
    lines += ["", "steps = [", *(f"  {_table(step_table(s))}," for s in trace.steps), "]", ""]
    return "\n".join(lines)


def _title(trace: Trace) -> str:
    """What the trace is about, in one line of printable characters."""
    claim = PROPERTIES[trace.property].partition(":")[0]
    who = "these ops" if trace.subject is None else trace.subject
    title = f"{trace.property} ({claim}) {trace.verdict} for {who} under {trace.profile}."
    return "".join(c if c.isprintable() else "?" for c in title)


def step_table(step: Step) -> dict[str, Any]:
    """One step as the table that `parse_step` reads."""
    match step:
        case Perform(id=op_id, op=op, thread=thread):
            named = {"thread": thread} if thread else {}
            return {"id": op_id, "op": ops.op_name(op), **_op_arguments(op), **named}
        case Begin(number=number, parts=parts):
            return {"mark": "begin", "save": number, **_parts_tables(parts)}
        case Ack(number=number):
            return {"mark": "ack", "save": number}
        case Recover(stop=stop):
            return {"run": "recover", **({} if stop is None else {"stop": stop})}
        case SaveLive(number=number, parts=parts, stop=stop):
            table = {"run": "save", "save": number, **_parts_tables(parts)}
            return table if stop is None else {**table, "stop": stop}
        case CrashStep(crash=crash):
            lists = {"lost": list(crash.lost), "stale": list(crash.stale)}
            return {"crash": crash.crash_class, **{k: v for k, v in lists.items() if v}}


def _op_arguments(op: ops.Op) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for attribute in fields(type(op)):
        value = getattr(op, attribute.name)
        if isinstance(value, Fill):
            table |= {"fill": value.byte, "size": value.size_bytes}
        elif isinstance(value, bytes):
            table |= {"text": value.decode()} if _readable(value) else {"hex": value.hex()}
        elif attribute.default is NOTHING or value != attribute.default:
            table[attribute.name] = list(value) if isinstance(value, tuple) else value
    return table


def _parts_tables(parts: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    text = {name: value.decode() for name, value in parts.items() if _readable(value)}
    other = {name: value.hex() for name, value in parts.items() if not _readable(value)}
    return {key: table for key, table in (("parts", text), ("parts_hex", other)) if table}


def _readable(value: bytes) -> bool:
    """Printable ASCII and line ends: what a reader would rather see as text."""
    return all(32 <= byte < 127 or byte == 10 for byte in value)


def _table(table: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{_key(key)} = {_value(value)}" for key, value in table.items())
    return f"{{ {inside} }}" if inside else "{}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return _table(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _quote(str(value))


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _quote(key)


def _quote(text: str) -> str:
    out = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return (
        '"'
        + "".join(c if ord(c) >= 32 and ord(c) != 127 else f"\\u{ord(c):04x}" for c in out)
        + '"'
    )
