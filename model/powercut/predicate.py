"""Predicates of published cases: what is asked of a file system after a crash.

A predicate is a list: its name, then its arguments (`["content", "a/b", [["x", 4096]]]`).  Reading
one gives a function of a `Look`, which decides no more of a crash state than the question needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen

from powercut.content import STALE_BYTE, Content, Fill, run_of
from powercut.errors import CaseError, NotModelledError
from powercut.search import Look
from powercut.tree import Directory, File, Symlink

FILE_BYTES_MAX: Final = 1 << 26
"""The longest content that a predicate may spell out, in bytes."""


@frozen
class Moment:
    """A crash state that is being looked at, and the marks passed before the crash."""

    look: Look
    marks: frozenset[str]


Predicate = Callable[[Moment], bool]

NOT_MODELLED: Final = {
    "blocks_at_least": "it asks about allocated blocks",
    "no_hole_if_nonempty": "it asks about allocated blocks",
    "xattr": "it asks about an extended attribute",
    "mode": "it asks about permissions",
    "mtime_after_setup": "it asks about a time stamp",
}
"""Predicates about what the model does not have."""


def read_predicate(raw: Any, where: str) -> Predicate:
    """The function that a predicate means. CaseError; NotModelledError, naming what is missing."""
    name, arguments = _parts(raw, where)
    if name in NOT_MODELLED:
        raise NotModelledError(NOT_MODELLED[name])
    if name in _JOINED:
        return _JOINED[name]([read_predicate(argument, where) for argument in arguments])
    if name not in _ASKED:
        raise NotModelledError(f"the model has no predicate {name!r}")
    count, build = _ASKED[name]
    if len(arguments) != count:
        raise CaseError(
            f"{where}: {name} takes {count} arguments, found {len(arguments)}. Nothing was run."
        )
    try:
        return build(*arguments)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise CaseError(f"{where}: {name}: {error}. Nothing was run.") from error


def _parts(raw: Any, where: str) -> tuple[str, list[Any]]:
    if not isinstance(raw, list) or not raw or not isinstance(raw[0], str):
        raise CaseError(
            f"{where}: a predicate is a list that begins with its name, found {raw!r}. "
            "Nothing was run."
        )
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


_JOINED: Final[Mapping[str, Callable[[list[Predicate]], Predicate]]] = {
    "and": _all,
    "or": _any,
    "not": _not,
    "implies": _implies,
}


def absolute(path: str) -> str:
    """A path of a case, which is relative to the test's own root, as an absolute one."""
    return "/" if path == "." else f"/{path}"


def spelt_out(runs: list[list[Any]]) -> Content:
    """A content from its runs of [character, count], as a file that holds exactly that."""
    content, at = Content(), 0
    for character, count in runs:
        if not isinstance(count, int) or count < 0 or at + count > FILE_BYTES_MAX:
            raise ValueError(f"a run of {count!r} characters")
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

    def holds(moment: Moment) -> bool:
        number = moment.look.find(place)
        return number is not None and isinstance(moment.look.inode(number), Directory)

    return holds


def _of_file(path: str, ask: Callable[[Look, int], bool]) -> Predicate:
    """A question about the regular file at a path; no where there is none."""
    place = absolute(path)

    def holds(moment: Moment) -> bool:
        number = moment.look.find(place)
        if number is None or not isinstance(moment.look.inode(number), File):
            return False
        return ask(moment.look, number)

    return holds


def _content(path: str, runs: list[list[Any]]) -> Predicate:
    wanted = spelt_out(runs)
    look, bytes_ = wanted.look(), wanted.read()
    stale_too = STALE_BYTE in bytes_

    def same(at: Look, number: int) -> bool:
        if at.size(number) != wanted.size:
            return False
        found = at.content(number)
        return found.look() == look or (stale_too and found.read() == bytes_)

    return _of_file(path, same)


def _size(path: str, size: int) -> Predicate:
    return _of_file(path, lambda look, number: look.size(number) == size)


def _prefix_of(path: str, runs: list[list[Any]]) -> Predicate:
    whole = spelt_out(runs).read()
    return _of_file(path, lambda look, number: whole.startswith(look.content(number).read()))


def _range(path: str, offset: int, length: int, character: str) -> Predicate:
    wanted = bytes([_byte(character)]) * length
    return _of_file(
        path,
        lambda look, number: look.content(number).read()[offset : offset + length] == wanted,
    )


def _byte_at(path: str, offset: int, character: str) -> Predicate:
    return _range(path, offset, 1, character)


def _nlink(path: str, count: int) -> Predicate:
    place = absolute(path)

    def holds(moment: Moment) -> bool:
        number = moment.look.find(place)
        return number is not None and moment.look.links(number) == count

    return holds


def _readlink(path: str, target: str) -> Predicate:
    place = absolute(path)

    def holds(moment: Moment) -> bool:
        number = moment.look.find(place)
        found = None if number is None else moment.look.inode(number)
        return isinstance(found, Symlink) and found.target == target

    return holds


def _entries(path: str, names: list[str]) -> Predicate:
    place = absolute(path)

    def holds(moment: Moment) -> bool:
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
    """What the model leaves always mounts: bugs of a file system are outside."""
    return lambda _: True


def _removable(path: str) -> Predicate:  # noqa: ARG001
    """What the model leaves can always be removed: its directories hold what they list."""
    return lambda _: True


_ASKED: Final[Mapping[str, tuple[int, Callable[..., Predicate]]]] = {
    "exists": (1, _exists),
    "absent": (1, _absent),
    "is_dir": (1, _is_dir),
    "content": (2, _content),
    "size": (2, _size),
    "prefix_of": (2, _prefix_of),
    "range": (4, _range),
    "byte": (3, _byte_at),
    "nlink": (2, _nlink),
    "readlink": (2, _readlink),
    "entries": (2, _entries),
    "any_exists": (1, _any_exists),
    "exactly_one_exists": (1, _exactly_one),
    "marked": (1, _marked),
    "creat_ok": (1, _creat_ok),
    "mountable": (0, _mountable),
    "removable": (1, _removable),
}
