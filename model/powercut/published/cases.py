"""Published cases: reading the one JSON form in which they are collected.

A case is a setup that is durable, ops under test, a moment for the crash, a question, and what the
publishers say for each file system.  An op or a predicate that the model does not have makes the
case one that is not run, with the reason; so does a published result of an unknown kind to its row.
Anything malformed is an error that names it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen

from powercut.errors import CaseError, NotModelledError
from powercut.filesystem import ops
from powercut.filesystem.content import Data, Fill
from powercut.published.predicate_arguments import OFFSET_MAX
from powercut.published.predicates import UNSPOKEN, Predicate, absolute, read_question
from powercut.strict_reader import StrictReader, can_be_passed, hint, short
from powercut.trace.trace_file import unmapped

READ: Final = StrictReader(CaseError)

FILE_BYTES_MAX: Final = 1 << 26
"""The longest file of cases that is read, in bytes."""

OPS_MAX: Final = 20_000
"""The most ops that one case may have once its repeats are spelt out."""

CLASSES: Final = {"power": "power", "os": "kernel"}
"""The names that the cases use for crash classes."""

RESULTS: Final = {
    "holds": "yes",
    "not_found": "yes",
    "forbidden_by_model": "yes",
    "violated": "no",
    "reachable": "no",
    "allowed_by_model": "no",
    "unknown": "",
}
"""The results that the cases use: whether all is well, or somebody lost something, or neither."""

EVIDENCE: Final = (
    "measured",
    "model",
    "doc",
    "regression-test",
    "no-failure-reported",
    "computed",
    "derived",
    "none",
)
"""The kinds of evidence that the cases use."""


@frozen
class PublishedResult:
    """What somebody says of one file system: the result, the kind of evidence, and a count.

    Where `odd` is not empty, one of the words is none that the cases use: a misspelling, or newer
    than this reader.  What is meant is not guessed at.
    """

    name: str
    result: str
    evidence: str
    states: int | None = None
    odd: str = ""


@frozen
class PublishedCase:
    """One case. Where `not_run` is not empty, the case cannot be run, and says why.

    `unspoken` is what it asks that is true of every state of the model; where it is `weaker`, the
    predicate is what else must hold.  `offsets` are those inside a file that the predicate names.
    """

    id: str
    family: str
    title: str
    setup: tuple[ops.Op, ...]
    program: tuple[ops.Op, ...]
    crash: str
    crash_class: str
    kind: str
    predicate: Predicate | None
    published: tuple[PublishedResult, ...]
    not_run: str = ""
    unspoken: str = ""
    weaker: bool = False
    offsets: tuple[int, ...] = ()


def read_cases(path: Path) -> list[PublishedCase]:
    """The cases in a file, in its order. CaseError names the case and what is wrong with it."""
    where = str(path)
    try:
        raw = json.loads(READ.text(path, FILE_BYTES_MAX))
    except (ValueError, RecursionError) as error:
        raise READ.fail(where, f"not JSON: {error}") from error
    if not isinstance(raw, dict) or "tests" not in raw:
        raise READ.fail(where, 'expected an object with the key "tests"')
    READ.schema(raw, where)
    tables = READ.typed(raw, "tests", list, where)
    cases = [_case(table, f"{where}: case {i}") for i, table in enumerate(tables, start=1)]
    ids = [case.id for case in cases]
    twice = next((case_id for case_id in ids if ids.count(case_id) > 1), None)
    if twice is not None:
        raise READ.fail(where, f"the id {twice!r} is there twice")
    return cases


def _case(raw: Any, where: str) -> PublishedCase:
    if not isinstance(raw, dict):
        raise READ.fail(where, f"expected an object, found {short(raw)}")
    case_id = READ.typed(raw, "id", str, where)
    where = f"{where} ({case_id})"
    question = READ.typed(raw, "question", dict, where)
    asked, reason = None, ""
    setup: tuple[ops.Op, ...] = ()
    program: tuple[ops.Op, ...] = ()
    try:
        setup = tuple(_ops(READ.typed(raw, "setup", list, where), where))
        program = tuple(_ops(READ.typed(raw, "ops", list, where), where))
        asked = read_question(READ.typed(question, "predicate", list, where), where)
        refused = unmapped((*setup, *program))
        reason = "" if refused is None else refused[1]
    except NotModelledError as error:
        reason = str(error)
    outcomes = READ.typed(raw, "outcome", dict, where)
    kind = READ.one_of(question, "kind", ("must", "reachable"), where)
    if asked is not None and asked.weaker and kind == "reachable":
        # That the rest of a conjunction can be says nothing of the whole.
        asked = evolve(asked, weaker=False)
    return PublishedCase(
        case_id,
        READ.typed(raw, "family", str, where),
        READ.optional(raw, "name", str, "", where),
        setup,
        program,
        READ.one_of(question, "crash", ("end", "anywhere"), where),
        CLASSES[READ.one_of(raw, "crash_class", tuple(CLASSES), where)],
        kind,
        None if asked is None else asked.predicate,
        tuple(_published(outcomes, name, where) for name in outcomes),
        reason,
        "" if asked is None else " and ".join(UNSPOKEN[name] for name in asked.unspoken),
        asked is not None and asked.weaker,
        () if asked is None else asked.offsets,
    )


def _published(outcomes: Mapping[str, Any], name: str, where: str) -> PublishedResult:
    table = READ.typed(outcomes, name, dict, f"{where}: outcome")
    here = f"{where}: outcome {name}"
    words = {
        "result": READ.typed(table, "result", str, here),
        "evidence": READ.typed(table, "evidence", str, here),
    }
    states = READ.optional(table, "states", int, None, here)
    known = {"result": tuple(RESULTS), "evidence": EVIDENCE}
    odd = "; ".join(
        f"the {key} {short(word)} is none that is known{hint(word, known[key])}"
        for key, word in words.items()
        if word not in known[key]
    )
    return PublishedResult(name, words["result"], words["evidence"], states, odd)


def _ops(raw: Sequence[Any], where: str) -> Iterator[ops.Op]:
    """The ops of a list. CaseError; NotModelledError names the op."""
    directories: set[str] = set()
    for count, table in enumerate(_repeated(raw, where)):
        if count >= OPS_MAX:
            raise READ.fail(where, f"more than {OPS_MAX} ops")
        if not isinstance(table, dict):
            raise READ.fail(where, f"an op is an object, found {short(table)}")
        name = READ.typed(table, "op", str, where)
        if name == "repeat":
            raise NotModelledError("a repeat inside a repeat is not spelt out")
        if name in ops.NOT_MODELLED:
            raise NotModelledError(ops.NOT_MODELLED[name])
        if name == "mkdir":
            directories.add(str(table.get("path")))
        if name not in _OPS:
            raise NotModelledError(f"the model has no op {short(name)}")
        arguments = _Arguments(table, where, table.get("path") in directories, {"op"})
        yield from _OPS[name](arguments)
        odd = sorted(set(table) - arguments.read)
        if odd:
            raise NotModelledError(f"the model knows no {short(odd[0])} of the op {name!r}")


def _repeated(raw: Sequence[Any], where: str) -> Iterator[Any]:
    """The op tables with every repeat spelt out; `{i}` becomes a number of four digits."""
    for table in raw:
        if not isinstance(table, dict) or table.get("op") != "repeat":
            yield table
            continue
        first, last = (READ.count(table, key, where) for key in ("from", "to"))
        for number in range(first, min(last, first + OPS_MAX) + 1):
            for inner in READ.typed(table, "ops", list, where):
                if not isinstance(inner, dict):
                    raise READ.fail(where, f"an op is an object, found {short(inner)}")
                yield {
                    key: value.replace("{i}", f"{number:04}") if isinstance(value, str) else value
                    for key, value in inner.items()
                }


@frozen
class _Arguments:
    """The arguments of one op, and which of them have been read.

    `of_directory` is true where an earlier op of the case made its path as a directory.
    """

    table: Mapping[str, Any]
    where: str
    of_directory: bool
    read: set[str]

    def path(self, key: str = "path") -> str:
        """A path of the case as an absolute one; a handle where the op names one by `fd`."""
        if key in ("path", "src") and "fd" in self.table:
            return "@" + self.text("fd")
        return absolute(self.text(key))

    def text(self, key: str) -> str:
        """A text that the kernel could be given as the name of something."""
        self.read.add(key)
        text = str(READ.typed(self.table, key, str, self.where))
        if not can_be_passed(text):
            raise READ.fail(self.where, f"{key} is {short(text)}, which no program can pass on")
        return text

    def number(self, key: str) -> int:
        """A number that the kernel could be given as an offset or a size."""
        self.read.add(key)
        number = READ.count(self.table, key, self.where)
        if number > OFFSET_MAX:
            expected = f"expected at most {OFFSET_MAX}, the largest file offset of a system"
            raise READ.fail(self.where, f"{key} is {number}, {expected}")
        return number

    def characters(self, key: str) -> bytes:
        """A text of which each character stands for one byte."""
        self.read.add(key)
        text = str(READ.typed(self.table, key, str, self.where))
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError as error:
            odd = text[error.start]
            expected = "expected characters up to U+00FF, each for one byte"
            raise READ.fail(self.where, f"{key} holds {odd!r}, {expected}") from error

    def data(self) -> Data:
        if "data" in self.table:
            return self.characters("data")
        fill = self.characters("fill")
        if len(fill) != 1:
            raise READ.fail(self.where, f"fill is {fill!r}, expected one character")
        return Fill(fill[0], self.number("len"))


def _write(flags: tuple[str, ...]) -> Callable[[_Arguments], Iterator[ops.Op]]:
    def build(a: _Arguments) -> Iterator[ops.Op]:
        yield ops.Write(a.path(), a.number("off"), a.data(), flags)

    return build


def _one(build: Callable[[_Arguments], ops.Op]) -> Callable[[_Arguments], Iterator[ops.Op]]:
    return lambda arguments: iter([build(arguments)])


def _open(a: _Arguments) -> ops.Op:
    flags = ("O_RDONLY",) if a.of_directory else ()
    return ops.Open(a.path(), a.text("as"), flags)


def _nothing(a: _Arguments) -> Iterator[ops.Op]:
    """Neither changes what a crash may leave: one is a hint, the other drops clean pages."""
    a.read.update(("path", "off", "len"))
    return iter(())


_OPS: Final[Mapping[str, Callable[[_Arguments], Iterator[ops.Op]]]] = {
    "creat": _one(lambda a: ops.Create(a.path())),
    "write": _write(()),
    "dwrite": _write(("O_DIRECT",)),
    "osync_write": _write(("O_SYNC",)),
    "append": _one(lambda a: ops.Append(a.path(), a.data())),
    "truncate": _one(lambda a: ops.Truncate(a.path(), a.number("size"))),
    "mmap_write": _one(lambda a: ops.Mapwrite(a.path(), a.number("off"), a.data())),
    "msync": _one(lambda a: ops.Msync(a.path(), a.number("off"), a.number("len"))),
    "mkdir": _one(lambda a: ops.Mkdir(a.path())),
    "rmdir": _one(lambda a: ops.Rmdir(a.path())),
    "symlink": _one(lambda a: ops.Symlink(a.text("target"), a.path())),
    "link": _one(lambda a: ops.Link(a.path("src"), a.path("dst"))),
    "rename": _one(lambda a: ops.Rename(a.path("src"), a.path("dst"))),
    "unlink": _one(lambda a: ops.Unlink(a.path())),
    "open": _one(_open),
    "tmpfile": _one(lambda a: ops.Tmpfile(a.path(), a.text("as"))),
    "fsync": _one(lambda a: ops.Fsync(a.path())),
    "fdatasync": _one(lambda a: ops.Fdatasync(a.path())),
    "full_fsync": _one(lambda a: ops.Fullsync(a.path())),
    "barrier_fsync": _one(lambda a: ops.Barrier(a.path())),
    "sync": _one(lambda _: ops.Sync()),
    "mark": _one(lambda a: ops.Mark(a.text("label"))),
    "sync_range": _nothing,
    "drop_caches": _nothing,
}
