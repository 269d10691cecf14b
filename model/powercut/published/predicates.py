"""Predicates of published cases: what is asked of a file system after a crash.

A predicate is a list: its name, then its arguments (`["content", "a/b", [["x", 4096]]]`).  Reading
one gives a function of a `PartialState`, which decides no more of a crash state than the question
needs.  Every argument is checked when it is read, so that asking cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from powercut.crash.lazy_search import PartialState
from powercut.errors import CaseError, NotModelledError
from powercut.filesystem.content import STALE_BYTE, ByteRun, Content, Fill, run_of
from powercut.filesystem.inodes import Directory, File, SymlinkInode
from powercut.published.predicate_arguments import KINDS
from powercut.strict_reader import StrictReader, short

READ: Final = StrictReader(CaseError)

NESTING_MAX: Final = 64
"""How deep predicates may stand inside one another."""


@frozen
class MarkedState:
    """A crash state that is being looked at, and the marks passed before the crash."""

    look: PartialState
    marks: frozenset[str]


Predicate = Callable[[MarkedState], bool]

NOT_MODELLED: Final = {
    "blocks_at_least": "it asks about allocated blocks",
    "no_hole_if_nonempty": "it asks about allocated blocks",
    "xattr": "it asks about an extended attribute",
    "mode": "it asks about permissions",
    "mtime_after_setup": "it asks about a time stamp",
}
"""Predicates about what the model does not have."""

UNSPOKEN: Final = {
    "mountable": "whether the volume mounts and its checker is clean",
    "removable": "whether everything below a directory can be deleted",
}
"""What a bug of a file system may deny and no state of the model does: it is true of all of them.

A disk that was mounted to be looked at answers them by itself.
"""


@frozen
class Asked:
    """A predicate as it can be asked, and what it asks of which the model does not speak.

    Where `unspoken` is not empty, `weaker` says that `predicate` is the rest of a conjunction: the
    whole cannot hold where it does not.  Else every state of the model answers the same.
    `offsets` are those inside a file that the predicate names, rising.
    """

    predicate: Predicate
    offsets: tuple[int, ...] = ()
    unspoken: tuple[str, ...] = ()
    weaker: bool = False


def read_question(raw: Any, where: str) -> Asked:
    """A predicate, and what there is to know before it is asked. Errors as `read_predicate`."""
    predicate = read_predicate(raw, where)
    offsets = tuple(sorted(set(_offsets(raw))))
    unspoken = tuple(dict.fromkeys(name for name, _ in _atoms(raw) if name in UNSPOKEN))
    if not unspoken or raw[0] != "and":
        return Asked(predicate, offsets, unspoken)
    rest = [part for part in raw[1:] if not any(name in UNSPOKEN for name, _ in _atoms(part))]
    if not rest:
        return Asked(predicate, offsets, unspoken)
    return Asked(read_predicate(["and", *rest], where), offsets, unspoken, weaker=True)


def _atoms(raw: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """The predicates of one that are joined by others: name and arguments. It was read before."""
    if raw[0] not in _JOINED:
        yield raw[0], raw[1:]
        return
    for part in raw[1:]:
        yield from _atoms(part)


def _offsets(raw: list[Any]) -> Iterator[int]:
    for name, arguments in _atoms(raw):
        if name == "size":
            yield arguments[1]
        elif name in ("range", "byte"):
            yield arguments[1]
            yield arguments[1] + (arguments[2] if name == "range" else 1)
        elif name in ("content", "prefix_of"):
            at = 0
            for _, count in arguments[1]:
                at += count
                yield at


def read_predicate(raw: Any, where: str, depth: int = 1) -> Predicate:
    """The function that a predicate means. CaseError; NotModelledError, naming what is missing."""
    name, arguments = _parts(raw, where)
    if depth > NESTING_MAX:
        raise READ.fail(where, f"more than {NESTING_MAX} predicates stand inside one another")
    if name in NOT_MODELLED:
        raise NotModelledError(NOT_MODELLED[name])
    if name in _JOINED:
        wanted, build = _JOINED[name]
        if len(arguments) != wanted if wanted else not arguments:
            takes = _counted(wanted) if wanted else "one argument or more"
            raise READ.fail(where, f"{name} takes {takes}, found {len(arguments)}")
        return build([read_predicate(argument, where, depth + 1) for argument in arguments])
    if name not in _ASKED:
        raise NotModelledError(f"the model has no predicate {short(name)}")
    kinds, ask = _ASKED[name]
    if len(arguments) != len(kinds):
        raise READ.fail(where, f"{name} takes {_counted(len(kinds))}, found {len(arguments)}")
    for position, (kind, argument) in enumerate(zip(kinds, arguments, strict=True), start=1):
        expected, fits = KINDS[kind]
        if not fits(argument):
            found = f"argument {position} of {name} is {short(argument)}"
            raise READ.fail(where, f"{found}, expected {expected}")
    return ask(*arguments)


def _counted(count: int) -> str:
    return f"{count} argument" if count == 1 else f"{count} arguments"


def _parts(raw: Any, where: str) -> tuple[str, list[Any]]:
    if not isinstance(raw, list) or not raw or not isinstance(raw[0], str):
        found = f"found {short(raw)}"
        raise READ.fail(where, f"a predicate is a list that begins with its name, {found}")
    return raw[0], raw[1:]


def _all(parts: list[Predicate]) -> Predicate:
    return lambda moment: all(part(moment) for part in parts)


def _any(parts: list[Predicate]) -> Predicate:
    return lambda moment: any(part(moment) for part in parts)


def _not(parts: list[Predicate]) -> Predicate:
    (part,) = parts
    return lambda moment: not part(moment)


def _implies(parts: list[Predicate]) -> Predicate:
    premise, conclusion = parts
    return lambda moment: not premise(moment) or conclusion(moment)


_JOINED: Final[Mapping[str, tuple[int, Callable[[list[Predicate]], Predicate]]]] = {
    "and": (0, _all),
    "or": (0, _any),
    "not": (1, _not),
    "implies": (2, _implies),
}
"""How predicates are joined: from how many, 0 for one or more, and how."""


def absolute(path: str) -> str:
    """A path of a case, which is relative to the test's own root, as an absolute one.

    An empty one stays empty: no kernel takes it.
    """
    return "/" if path == "." else f"/{path}" if path else ""


def spelt_out(runs: Sequence[Sequence[Any]]) -> Content:
    """A content from its runs of [character, count], as a file that holds exactly that."""
    content, at = Content(), 0
    for character, count in runs:
        content = content.resize(at + count).overlay(run_of(at, Fill(_byte(character), count)))
        at += count
    return content


def _byte(character: str) -> int:
    (byte,) = character.encode("latin-1")
    return byte


def _exists(path: str) -> Predicate:
    place = absolute(path)
    return lambda moment: moment.look.find(place) is not None


def _absent(path: str) -> Predicate:
    exists = _exists(path)
    return lambda moment: not exists(moment)


def _is_dir(path: str) -> Predicate:
    place = absolute(path)

    def holds(moment: MarkedState) -> bool:
        number = moment.look.find(place)
        return number is not None and isinstance(moment.look.inode(number), Directory)

    return holds


def _of_file(path: str, ask: Callable[[PartialState, int], bool]) -> Predicate:
    """A question about the regular file at a path; no where there is none."""
    place = absolute(path)

    def holds(moment: MarkedState) -> bool:
        number = moment.look.find(place)
        if number is None or not isinstance(moment.look.inode(number), File):
            return False
        return ask(moment.look, number)

    return holds


def _content(path: str, runs: list[list[Any]]) -> Predicate:
    wanted = spelt_out(runs)
    look = wanted.look()
    stale_too = any(_byte(character) == STALE_BYTE for character, _ in runs)

    def same(at: PartialState, number: int) -> bool:
        if at.size(number) != wanted.size:
            return False
        found = at.content(number)
        return found.look() == look or (stale_too and found.read() == wanted.read())

    return _of_file(path, same)


def _size(path: str, size: int) -> Predicate:
    return _of_file(path, lambda look, number: look.size(number) == size)


def _prefix_of(path: str, runs: list[list[Any]]) -> Predicate:
    whole = spelt_out(runs)

    def begins(look: PartialState, number: int) -> bool:
        found = look.content(number)
        return found.size <= whole.size and found.read() == whole.truncate(found.size).read()

    return _of_file(path, begins)


def _range(path: str, offset: int, length: int, character: str) -> Predicate:
    wanted = _byte(character)

    def all_are(look: PartialState, number: int) -> bool:
        # Only what is asked about is spelt out: the file may have any size.
        shown = _part(look.content(number), offset, offset + length)
        return len(shown) == length == shown.count(wanted)

    return _of_file(path, all_are)


def _part(content: Content, start: int, stop: int) -> bytes:
    """The bytes of [start, stop) that the file has, as a program reads them."""
    stop = min(stop, content.size)
    if start >= stop:
        return b""
    inside = (run for run in content.runs if run.start < stop and run.stop > start)
    moved = (_moved(run.cut(start, stop), -start) for run in inside)
    return Content(stop - start, tuple(moved)).read()


def _moved(run: ByteRun, by: int) -> ByteRun:
    return ByteRun(run.start + by, run.stop + by, run.payload)


def _byte_at(path: str, offset: int, character: str) -> Predicate:
    return _range(path, offset, 1, character)


def _nlink(path: str, count: int) -> Predicate:
    place = absolute(path)

    def holds(moment: MarkedState) -> bool:
        number = moment.look.find(place)
        return number is not None and moment.look.links(number) == count

    return holds


def _readlink(path: str, target: str) -> Predicate:
    place = absolute(path)

    def holds(moment: MarkedState) -> bool:
        number = moment.look.find(place)
        found = None if number is None else moment.look.inode(number)
        return isinstance(found, SymlinkInode) and found.target == target

    return holds


def _entries(path: str, names: list[str]) -> Predicate:
    place = absolute(path)

    def holds(moment: MarkedState) -> bool:
        number = moment.look.find(place)
        if number is None or not isinstance(moment.look.inode(number), Directory):
            return False
        return sorted(moment.look.entries(number)) == sorted(names)

    return holds


def _any_exists(paths: list[str]) -> Predicate:
    return _any([_exists(path) for path in paths])


def _exactly_one(paths: list[str]) -> Predicate:
    each = [_exists(path) for path in paths]
    return lambda moment: sum(exists(moment) for exists in each) == 1


def _marked(label: str) -> Predicate:
    return lambda moment: label in moment.marks


def _creat_ok(path: str) -> Predicate:
    return _is_dir(path.rpartition("/")[0] or ".")


def _mountable() -> Predicate:
    """What can be looked at was mounted; see UNSPOKEN."""
    return lambda _: True


def _removable(path: str) -> Predicate:  # noqa: ARG001
    """The directories of the model hold what they list; see UNSPOKEN."""
    return lambda _: True


_ASKED: Final[Mapping[str, tuple[tuple[str, ...], Callable[..., Predicate]]]] = {
    "exists": (("path",), _exists),
    "absent": (("path",), _absent),
    "is_dir": (("path",), _is_dir),
    "content": (("path", "runs"), _content),
    "size": (("path", "offset"), _size),
    "prefix_of": (("path", "runs"), _prefix_of),
    "range": (("path", "offset", "length", "character"), _range),
    "byte": (("path", "offset", "character"), _byte_at),
    "nlink": (("path", "count"), _nlink),
    "readlink": (("path", "text"), _readlink),
    "entries": (("path", "names"), _entries),
    "any_exists": (("paths",), _any_exists),
    "exactly_one_exists": (("paths",), _exactly_one),
    "marked": (("text",), _marked),
    "creat_ok": (("path",), _creat_ok),
    "mountable": ((), _mountable),
    "removable": (("path",), _removable),
}
"""The predicates that are not joined from others: the kinds of their arguments, and what asks."""
