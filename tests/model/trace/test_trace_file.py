"""Traces: what is written is read back, and what is malformed gets one clear error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powercut.crash.space import Crash
from powercut.errors import TraceError
from powercut.filesystem import ops
from powercut.filesystem.content import Data, Fill
from powercut.filesystem.inodes import File
from powercut.profile import CRASH_CLASSES
from powercut.simulation.oracle import PROPERTIES
from powercut.simulation.world import Begin, CrashStep, Perform, Recover, SaveLive, Step
from powercut.trace.replay import Replayed, replay
from powercut.trace.trace_file import (
    Trace,
    parse_step,
    parse_trace,
    read_trace,
    render_trace,
    step_table,
)

any_text = st.text(max_size=8)
printable = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
paths = any_text.map("/{}".format)
numbers = st.integers(0, 1 << 62)
contents = st.one_of(
    st.binary(max_size=8),
    st.text("ab\n\t\"\\#'", max_size=8).map(str.encode),
    st.builds(Fill, st.integers(0, 255), numbers),
)
groups = st.dictionaries(any_text, st.binary(max_size=6), max_size=3)
stops = st.none() | st.integers(0, 99)
saves = st.integers(1, 1 << 62)

flags = st.lists(any_text, max_size=2).map(tuple)

BY_TYPE: dict[type[ops.Op], st.SearchStrategy[ops.Op]] = {
    ops.Create: st.builds(ops.Create, paths),
    ops.Open: st.builds(ops.Open, paths, any_text, flags),
    ops.Tmpfile: st.builds(ops.Tmpfile, paths, any_text),
    ops.Close: st.builds(ops.Close, any_text),
    ops.Write: st.builds(ops.Write, paths, numbers, contents, flags),
    ops.Append: st.builds(ops.Append, paths, contents, flags),
    ops.Mapwrite: st.builds(ops.Mapwrite, paths, numbers, contents),
    ops.Msync: st.builds(ops.Msync, paths, numbers, numbers),
    ops.Symlink: st.builds(ops.Symlink, any_text, paths),
    ops.Barrier: st.builds(ops.Barrier, paths),
    ops.Fullsync: st.builds(ops.Fullsync, paths),
    ops.Truncate: st.builds(ops.Truncate, paths, numbers),
    ops.Mkdir: st.builds(ops.Mkdir, paths),
    ops.Rmdir: st.builds(ops.Rmdir, paths),
    ops.Rename: st.builds(ops.Rename, paths, paths, flags),
    ops.Link: st.builds(ops.Link, paths, paths),
    ops.Unlink: st.builds(ops.Unlink, paths),
    ops.Fsync: st.builds(ops.Fsync, paths, st.booleans()),
    ops.Fdatasync: st.builds(ops.Fdatasync, paths, st.booleans()),
    ops.Sync: st.builds(ops.Sync),
    ops.Mark: st.builds(ops.Mark, any_text),
    ops.Damage: st.builds(ops.Damage, paths, st.sampled_from(ops.HARMS), st.none() | numbers),
}
names = st.lists(any_text, max_size=3).map(tuple)
anything = st.one_of(list(BY_TYPE.values()))
performs = st.builds(Perform, any_text, anything, st.just(True), any_text)
others: st.SearchStrategy[Step] = st.one_of(
    st.builds(Begin, saves, groups),
    st.builds(Recover, stops),
    st.builds(SaveLive, saves, groups, stops),
    st.builds(CrashStep, st.builds(Crash, st.sampled_from(CRASH_CLASSES), names, names)),
)


def is_answered(steps: Sequence[Step]) -> bool:
    """No power cut follows a crash of the kernel."""
    classes = [step.crash.crash_class for step in steps if isinstance(step, CrashStep)]
    return "power" not in classes[classes.index("kernel") :] if "kernel" in classes else True


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Any trace that the format can hold."""
    whole = performs.filter(lambda step: not isinstance(step.op, ops.Mapwrite))
    performed = draw(st.lists(whole, max_size=6, unique_by=lambda step: step.id))
    every_step = st.permutations([*performed, *draw(st.lists(others, max_size=4))])
    steps = draw(every_step.filter(is_answered))
    runs = any(isinstance(step, Recover | SaveLive) for step in steps)
    return Trace(
        kind=draw(st.sampled_from(("pinned", "regression"))),
        profile=draw(printable),
        property=draw(st.sampled_from(sorted(PROPERTIES))),
        verdict=draw(st.sampled_from(("holds", "fails"))),
        steps=tuple(steps),
        subject=draw(printable if runs else st.none() | printable),
        because=draw(any_text),
        origin=draw(st.dictionaries(any_text, any_text, max_size=2)),
    )


def test_the_strategies_know_every_op() -> None:
    assert set(BY_TYPE) == set(ops.OP_NAMES.values())


@given(trace=traces())
def test_a_rendered_trace_parses_to_itself(trace: Trace) -> None:
    assert parse_trace(render_trace(trace), "t.toml") == trace


@given(trace=traces())
def test_rendering_what_was_parsed_gives_the_same_bytes(trace: Trace) -> None:
    rendered = render_trace(trace)

    assert render_trace(parse_trace(rendered, "t.toml")) == rendered
    assert rendered.encode()


@given(trace=traces())
def test_each_step_is_one_line(trace: Trace) -> None:
    lines = render_trace(trace).splitlines()

    assert len(trace.steps) == sum(line.startswith("  { ") for line in lines)


@given(step=performs | others)
def test_the_table_of_a_step_parses_to_the_step(step: Step) -> None:
    assert parse_step(step_table(step), "t.toml: step 1") == step


HEAD = {
    "schema": "1",
    "kind": '"pinned"',
    "subject": '"lastgood:unsafe"',
    "profile": '"posix-minimal"',
    "property": '"P3"',
    "verdict": '"fails"',
    "steps": "[]",
}


def document(**changes: str | None) -> str:
    """A trace that is well formed but for the changes; None leaves a key out."""
    table: dict[str, str | None] = {**HEAD, **changes}
    return "\n".join(f"{key} = {value}" for key, value in table.items() if value is not None)


def test_the_document_that_is_made_worse_below_is_well_formed() -> None:
    assert parse_trace(document(), "t.toml").steps == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": None}, "t.toml: the key 'kind' is missing. Nothing was run."),
        ({"profile": None}, "t.toml: the key 'profile' is missing. Nothing was run."),
        ({"property": None}, "t.toml: the key 'property' is missing. Nothing was run."),
        ({"verdict": None}, "t.toml: the key 'verdict' is missing. Nothing was run."),
        ({"steps": None}, "t.toml: the key 'steps' is missing. Nothing was run."),
        ({"schema": None}, "t.toml: schema is None, expected 1"),
        ({"schema": "2"}, "t.toml: schema is 2, expected 1"),
        ({"kind": '"litmus"'}, "t.toml: kind is 'litmus', expected one of pinned, regression. "),
        (
            {"property": '"P9"'},
            "t.toml: property is 'P9', expected one of P1, P2, P3, P4, P5, P7. ",
        ),
        ({"verdict": '"unknown"'}, "t.toml: verdict is 'unknown', expected one of holds, fails. "),
        ({"profile": "3"}, "t.toml: profile is 3, expected str. Nothing was run."),
        ({"steps": '"none"'}, "t.toml: steps is 'none', expected list. Nothing was run."),
        (
            {"seed": "7"},
            "t.toml: unknown key 'seed' (did you mean 'needs'?); known here: because, kind, ",
        ),
        (
            {"subject": None, "steps": '[{ run = "recover" }]'},
            "t.toml: it runs a subject's code, and the key 'subject' is missing",
        ),
        ({"steps": "[ {"}, "t.toml: not TOML: "),
    ],
    ids=lambda value: (
        "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else ""
    ),
)
def test_a_malformed_trace_gives_one_error_that_names_the_file(
    changes: dict[str, str | None], message: str
) -> None:
    with pytest.raises(TraceError) as caught:
        parse_trace(document(**changes), "t.toml")

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


GOOD = '{ id = "c", op = "create", path = "/a" }'
WRITE = 'id = "w", op = "write", path = "/a", offset = 0'


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("7", "expected an inline table, found 7"),
        ("{}", "expected one of the keys op, mark, run, crash; found []"),
        (
            '{ id = "m", op = "mmap", path = "/a" }',
            "op is 'mmap': a mapping is not an op of the model",
        ),
        ('{ id = "m", op = "falloc", path = "/a" }', "op is 'falloc': fallocate is not modelled"),
        (
            '{ id = "m", op = "mapwrite", path = "/a", offset = 0, text = "x" }',
            "a mapped write of /a without an msync is not modelled",
        ),
        (
            '{ id = "m", op = "symlnk", path = "/a" }',
            "op is 'symlnk', expected one of create, open",
        ),
        (
            '{ id = "m", op = "write", path = "/a", offset = 0, text = "x", flags = 3 }',
            "flags is 3",
        ),
        ('{ id = "m", op = "fsync", path = "/a", fails = "EIO" }', "fails is 'EIO', expected bool"),
        ('{ op = "create", path = "/b" }', "the key 'id' is missing. Nothing was run."),
        ('{ id = "d", op = "create" }', "the key 'path' is missing. Nothing was run."),
        ('{ id = "d", op = "rename", src = "/a" }', "the key 'dst' is missing. Nothing was run."),
        ('{ id = 4, op = "create", path = "/b" }', "id is 4, expected str. Nothing was run."),
        ('{ id = "d", op = "create", path = 4 }', "path is 4, expected str. Nothing was run."),
        ('{ id = "d", op = "truncate", path = "/a", size = true }', "size is True, expected int. "),
        ('{ id = "d", op = "create", path = "/b", mode = 6 }', "unknown key 'mode'; known here: "),
        ('{ id = "d", op = "fsync", path = "/a", text = "" }', "unknown key 'text'; known here: "),
        ('{ id = "c", op = "create", path = "/b" }', "the id 'c' is taken by an earlier step"),
        (f"{{ {WRITE} }}", "expected exactly one of text, hex, fill; found []"),
        (
            f'{{ {WRITE}, text = "a", hex = "61" }}',
            "expected exactly one of text, hex, fill; found ['text', 'hex']",
        ),
        (f'{{ {WRITE}, hex = "6" }}', "'6' is not hex: "),
        (f'{{ {WRITE}, hex = "zz" }}', "'zz' is not hex: "),
        (f"{{ {WRITE}, fill = 7 }}", "the key 'size' is missing. Nothing was run."),
        (f"{{ {WRITE}, fill = 256, size = 1 }}", "fill is 256, expected a byte"),
        (f"{{ {WRITE}, fill = 7, size = -1 }}", "size is -1, expected 0 or more"),
        ('{ mark = "end", save = 1 }', "mark is 'end', expected one of begin, ack. "),
        ('{ mark = "ack" }', "the key 'save' is missing. Nothing was run."),
        ('{ mark = "ack", save = 1, parts = {} }', "unknown key 'parts'; known here: mark, save. "),
        ('{ mark = "begin", save = 1, parts = { a = 1 } }', "parts: a is 1, expected str"),
        ('{ mark = "begin", save = 1, parts_hex = { a = "x" } }', "'x' is not hex: "),
        ('{ run = "prune" }', "run is 'prune', expected one of recover, save. "),
        ('{ run = "recover", stop = "1" }', "stop is '1', expected int. Nothing was run."),
        ('{ run = "recover", save = 1 }', "unknown key 'save'; known here: run, stop. "),
        ('{ crash = "earthquake" }', "crash is 'earthquake', expected one of process, kernel, "),
        ('{ crash = "power", lost = [1] }', "lost is [1], expected a list of strings"),
        (
            '{ crash = "power", found = [] }',
            "unknown key 'found'; known here: crash, lost, stale. ",
        ),
    ],
    ids=range(35),
)
def test_a_malformed_step_gives_one_error_that_names_the_file_and_the_step(
    step: str, message: str
) -> None:
    with pytest.raises(TraceError) as caught:
        parse_trace(document(steps=f"[ {GOOD}, {step} ]"), "t.toml")

    assert str(caught.value).startswith(f"t.toml: step 2: {message}")


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": '[{ crash = "power", lost = 5 }]'},
        {"steps": '[{ crash = "power", lost = "w.data" }]'},
        {"steps": '[{ mark = "begin", save = 1, parts = "weights" }]'},
        {"steps": '[{ mark = "ack", save = 7 }]'},
        {"steps": '[{ run = "recover", stop = -1 }]'},
        {"steps": '[{ mark = "begin", save = 1, parts = { a = "x" }, parts_hex = { a = "00" } }]'},
        {"steps": f'[{{ {WRITE}, text = "a", size = 9 }}]'},
        {"subject": "3"},
        {"because": "3"},
        {"origin": "3"},
        {"origin": "{ by = 3 }"},
        {"schema": "true"},
        {"seed": "[" * 5000 + "]" * 5000},
        {"seed": "9" * 5000},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_a_value_of_the_wrong_sort_is_refused_before_anything_runs(changes: dict[str, str]) -> None:
    with pytest.raises(TraceError, match=r"^t\.toml: "):
        parse_trace(document(**changes), "t.toml")


@pytest.mark.parametrize("profile", ["a\nb", "a\rb", "a\0b", "a\x7fb"], ids=repr)
def test_a_control_character_in_a_name_does_not_break_the_title(profile: str) -> None:
    trace = Trace("pinned", profile, "P1", "holds", ())

    assert parse_trace(render_trace(trace), "t.toml") == trace


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"\xff\xfe", "cannot be read: "), (b"x" * ((16 << 20) + 1), "larger than 16777216 bytes")],
    ids=["not UTF-8", "too large"],
)
def test_a_file_that_is_no_text_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(text)

    with pytest.raises(TraceError) as caught:
        read_trace(path)

    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"cannot be read: .*\. Nothing was run\.$"):
        read_trace(tmp_path / "missing.toml")


def replay_steps(*steps: str, **changes: str | None) -> Replayed:
    text = document(steps=f"[ {', '.join(steps)} ]", **changes)
    return replay(parse_trace(text, "t.toml"), "t.toml")


FSYNC_ROOT = '{ id = "s", op = "fsync", path = "/" }'


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((GOOD, GOOD.replace('"c"', '"d"')), "step 2 is impossible: [Errno 17] EEXIST: '/a'"),
        ((FSYNC_ROOT.replace('"/"', '"/a"'),), "step 1 is impossible: [Errno 2] ENOENT: '/a'"),
        (
            (GOOD, FSYNC_ROOT, '{ crash = "power", lost = ["c.entry"] }'),
            "step 3 is impossible: posix-minimal forbids this crash: c.entry is durable: ",
        ),
        (
            (GOOD, '{ crash = "power", lost = ["c.data"] }'),
            "step 2 is impossible: no pending event 'c.data' at this crash; pending: c.entry",
        ),
        (
            (GOOD, '{ crash = "power", stale = ["c.entry"] }'),
            "step 2 is impossible: posix-minimal: c.entry cannot read stale here",
        ),
        (
            (GOOD, '{ crash = "process", lost = ["c.entry"] }'),
            "step 2 is impossible: a process kill loses nothing that the kernel has",
        ),
        (
            (GOOD, f'{{ {WRITE}, text = "ab" }}', '{ crash = "power", lost = ["w.data[x:1]"] }'),
            "step 3 is impossible: 'w.data[x:1]': a piece is written [start:stop], in bytes",
        ),
    ],
    ids=["taken", "missing", "durable", "no event", "not stale", "kill", "no piece"],
)
def test_an_impossible_history_gets_an_error_that_names_the_step_and_no_verdict(
    steps: tuple[str, ...], message: str
) -> None:
    with pytest.raises(TraceError) as caught:
        replay_steps(*steps)

    assert str(caught.value).startswith(f"t.toml: {message}")


POWER_AFTER_KERNEL = (
    "t.toml: step 4: crash is 'power' and that of step 2 'kernel': "
    "a power cut after a crash of the kernel is outside of the model: "
    "the drive's cache may still hold what the kernel crash left, "
    "and the model does not know what of it a power cut takes; expected machine crashes of one "
    "class, or each power cut before the first crash of the kernel. Nothing was run."
)


def test_a_power_cut_after_a_crash_of_the_kernel_is_refused_in_words() -> None:
    crashes = (f'{{ crash = "{name}" }}' for name in ("kernel", "process", "power"))

    with pytest.raises(TraceError) as caught:
        replay_steps(GOOD, *crashes)

    assert str(caught.value) == POWER_AFTER_KERNEL


@pytest.mark.parametrize(
    "classes", [("power", "kernel"), ("kernel", "kernel"), ("power", "power", "process", "kernel")]
)
def test_other_orders_of_crashes_are_replayed(classes: tuple[str, ...]) -> None:
    crashes = (f'{{ crash = "{name}" }}' for name in classes)

    assert replay_steps(GOOD, *crashes).verdict == "holds"


def test_the_same_crash_without_the_sync_is_possible() -> None:
    assert replay_steps(GOOD, '{ crash = "power", lost = ["c.entry"] }').verdict == "holds"


def test_naming_a_piece_cuts_the_event_there() -> None:
    lost = '{ crash = "power", lost = ["w.data[1:4]"] }'

    replayed = replay_steps(GOOD, f'{{ {WRITE}, text = "abcd" }}', lost)

    files = [f for f in replayed.world.state.view.values() if isinstance(f, File)]
    assert [file.content.read() for file in files] == [b"a\0\0\0"]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"ab c\n", {"text": "ab c\n"}),
        (b"", {"text": ""}),
        (b"\x7f", {"hex": "7f"}),
        ("é".encode(), {"hex": "c3a9"}),
        (b"a\0", {"hex": "6100"}),
        (Fill(0, 9), {"fill": 0, "size": 9}),
    ],
    ids=repr,
)
def test_data_that_a_person_can_read_are_text_and_others_hex(
    data: Data, keys: dict[str, str | int]
) -> None:
    table = step_table(Perform("w", ops.Write("/a", 0, data)))

    assert {k: v for k, v in table.items() if k in ("text", "hex", "fill", "size")} == keys
