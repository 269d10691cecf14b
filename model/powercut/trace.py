"""Traces: a history with its verdict, as TOML that people read, edit and replay.

docs/traces.md describes the format.  Reading is strict: an unknown key, op or property is an
error that names the file and the step, and nothing is run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import field, fields, frozen

from powercut import ops
from powercut.content import Data, Fill
from powercut.crash import Crash
from powercut.errors import TraceError
from powercut.oracle import PROPERTIES
from powercut.profile import CRASH_CLASSES
from powercut.world import Ack, Begin, CrashStep, Perform, Recover, SaveLive, Step

SCHEMA: Final = 1
_SIZE_LIMIT_BYTES: Final = 16 << 20
_DATA_KEYS: Final = ("text", "hex", "fill")


@frozen
class Trace:
    """A history, what it is about, and the verdict that replaying it must give.

    A `pinned` trace holds the ops of the process under test themselves: its verdict never changes.
    A `regression` runs a subject's code at every step: mending the subject turns its verdict.
    """

    kind: str
    profile: str
    property: str
    verdict: str
    steps: tuple[Step, ...]
    subject: str | None = None
    because: str = ""
    origin: Mapping[str, str] = field(factory=dict)


def read_trace(path: Path) -> Trace:
    """The trace in a file. TraceError, naming the file, where it is not one."""
    try:
        if path.stat().st_size > _SIZE_LIMIT_BYTES:
            raise TraceError(f"{path}: larger than {_SIZE_LIMIT_BYTES} bytes; not read")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: cannot be read: {error}. Nothing was run.") from error
    return parse_trace(text, str(path))


def parse_trace(text: str, where: str) -> Trace:
    """The trace in `text`; `where` names it in errors. TraceError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TraceError(f"{where}: not TOML: {error}. Nothing was run.") from error
    known = {"schema", "kind", "profile", "property", "verdict", "steps", "subject", "because"}
    check_keys(raw, known | {"origin"}, where)
    if raw.get("schema") != SCHEMA:
        raise TraceError(f"{where}: schema is {raw.get('schema')!r}, expected {SCHEMA}")
    one_of(raw, "kind", ("pinned", "regression"), where)
    one_of(raw, "property", tuple(PROPERTIES), where)
    one_of(raw, "verdict", ("holds", "fails"), where)
    steps = parse_steps(typed(raw, "steps", list, where), where)
    subject = raw.get("subject")
    if subject is None and any(isinstance(step, Recover | SaveLive) for step in steps):
        raise TraceError(f"{where}: it runs a subject's code, and the key 'subject' is missing")
    return Trace(
        kind=raw["kind"],
        profile=typed(raw, "profile", str, where),
        property=raw["property"],
        verdict=raw["verdict"],
        steps=steps,
        subject=subject,
        because=raw.get("because", ""),
        origin=raw.get("origin", {}),
    )


def parse_steps(raw: Sequence[Any], where: str) -> tuple[Step, ...]:
    """The steps of a trace or a litmus test. TraceError names the step by its position."""
    steps: list[Step] = []
    ids: set[str] = set()
    for position, table in enumerate(raw, start=1):
        here = f"{where}: step {position}"
        step = parse_step(table, here)
        if isinstance(step, Perform):
            if step.id in ids:
                raise TraceError(f"{here}: the id {step.id!r} is taken by an earlier step")
            ids.add(step.id)
        steps.append(step)
    return tuple(steps)


def parse_step(table: Any, where: str) -> Step:
    """One step, by the key that says what it is: op, mark, run or crash."""
    if not isinstance(table, dict):
        raise TraceError(f"{where}: expected an inline table, found {table!r}")
    if "op" in table:
        return Perform(typed(table, "id", str, where), parse_op(table, where))
    if "mark" in table:
        return _parse_mark(table, where)
    if "run" in table:
        return _parse_run(table, where)
    if "crash" in table:
        check_keys(table, {"crash", "lost", "stale"}, where)
        one_of(table, "crash", CRASH_CLASSES, where)
        lost, stale = table.get("lost", []), table.get("stale", [])
        if not all(isinstance(name, str) for name in (*lost, *stale)):
            raise TraceError(f"{where}: lost and stale are lists of names of events")
        return CrashStep(Crash(table["crash"], tuple(lost), tuple(stale)))
    raise TraceError(f"{where}: expected one of the keys op, mark, run, crash; found {list(table)}")


def parse_op(table: dict[str, Any], where: str) -> ops.Op:
    """The op of a step, with exactly the arguments that it takes."""
    name = one_of(table, "op", tuple(ops.OP_NAMES), where)
    cls = ops.OP_NAMES[name]
    wanted = {f.name: f.type for f in fields(cls)}
    data_keys = {"text", "hex", "fill", "size"} if cls is ops.Write else set()
    check_keys(table, {"id", "op", *(n for n in wanted if n != "data"), *data_keys}, where)
    arguments: dict[str, Any] = {}
    for key in wanted:
        if key == "data":
            arguments[key] = parse_data(table, where)
        else:
            kind = int if key in ("offset", "size") else str
            arguments[key] = typed(table, key, kind, where)
    return cls(**arguments)


def parse_data(table: Mapping[str, Any], where: str) -> Data:
    """The data of a write: exactly one of text, hex, fill (with size). TraceError."""
    given = [key for key in _DATA_KEYS if key in table]
    if len(given) != 1:
        raise TraceError(f"{where}: a write has exactly one of text, hex, fill; found {given}")
    if given == ["text"]:
        return str(typed(table, "text", str, where)).encode()
    if given == ["hex"]:
        return _unhex(typed(table, "hex", str, where), where)
    byte, size = typed(table, "fill", int, where), typed(table, "size", int, where)
    if not 0 <= byte <= 255 or size < 0:
        raise TraceError(f"{where}: fill is a byte and size is not negative; found {byte}, {size}")
    return Fill(byte, size)


def _parse_mark(table: dict[str, Any], where: str) -> Step:
    mark = one_of(table, "mark", ("begin", "ack"), where)
    number = typed(table, "save", int, where)
    if mark == "ack":
        check_keys(table, {"mark", "save"}, where)
        return Ack(number)
    check_keys(table, {"mark", "save", "parts", "parts_hex"}, where)
    return Begin(number, _parse_parts(table, where))


def _parse_run(table: dict[str, Any], where: str) -> Step:
    run = one_of(table, "run", ("recover", "save"), where)
    stop = typed(table, "stop", int, where) if "stop" in table else None
    if run == "recover":
        check_keys(table, {"run", "stop"}, where)
        return Recover(stop)
    check_keys(table, {"run", "stop", "save", "parts", "parts_hex"}, where)
    return SaveLive(typed(table, "save", int, where), _parse_parts(table, where), stop)


def _parse_parts(table: dict[str, Any], where: str) -> dict[str, bytes]:
    """The contents of a group: readable ones under `parts`, others in hex."""
    parts: dict[str, bytes] = {}
    for key in ("parts", "parts_hex"):
        for name, value in table.get(key, {}).items():
            if not isinstance(value, str):
                raise TraceError(f"{where}: part {name!r} is {value!r}, expected a string")
            parts[name] = value.encode() if key == "parts" else _unhex(value, where)
    return parts


def _unhex(value: str, where: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError as error:
        raise TraceError(f"{where}: {value[:32]!r} is not hex: {error}") from error


def typed(table: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    """The value of a required key, of the required type. TraceError."""
    if key not in table:
        raise TraceError(f"{where}: the key {key!r} is missing. Nothing was run.")
    value = table[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TraceError(f"{where}: {key} is {value!r}, expected {kind.__name__}. Nothing was run.")
    return value


def one_of(table: Mapping[str, Any], key: str, known: Sequence[str], where: str) -> str:
    """The value of a key that has few. TraceError lists them."""
    value: str = typed(table, key, str, where)
    if value not in known:
        raise TraceError(
            f"{where}: {key} is {value!r}, expected one of {', '.join(known)}. Nothing was run."
        )
    return value


def check_keys(table: Mapping[str, Any], known: set[str], where: str) -> None:
    """Refuse a table with a key that nobody reads. TraceError."""
    for key in table:
        if key not in known:
            raise TraceError(
                f"{where}: unknown key {key!r}; known here: {', '.join(sorted(known))}. "
                "Nothing was run."
            )


def render_trace(trace: Trace) -> str:
    """The trace as TOML, one step a line; the same trace gives the same bytes."""
    lines = [f"# {line}" for line in _title(trace)]
    lines += [
        f"schema = {SCHEMA}",
        f"kind = {_quote(trace.kind)}",
        *([f"subject = {_quote(trace.subject)}"] if trace.subject else []),
        f"profile = {_quote(trace.profile)}",
        f"property = {_quote(trace.property)}",
        f"verdict = {_quote(trace.verdict)}",
        *([f"because = {_quote(trace.because)}"] if trace.because else []),
    ]
    if trace.origin:
        lines.append(f"origin = {_table(dict(trace.origin))}")
    lines += ["", "steps = [", *(f"  {_table(step_table(s))}," for s in trace.steps), "]", ""]
    return "\n".join(lines)


def _title(trace: Trace) -> list[str]:
    claim = PROPERTIES[trace.property].partition(":")[0]
    who = trace.subject or "these ops"
    return [f"{trace.property} ({claim}) {trace.verdict} for {who} under {trace.profile}."]


def step_table(step: Step) -> dict[str, Any]:
    """One step as the table that `parse_step` reads."""
    match step:
        case Perform(id=op_id, op=op):
            return {"id": op_id, "op": ops.op_name(op), **_op_arguments(op)}
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
        else:
            table[attribute.name] = value
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
