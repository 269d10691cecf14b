"""Observed trees: what somebody read from a disk after a crash, as a value to ask about.

A tree is given by its paths, relative to the root.  Two paths are one inode where `links` puts them
into one group, and two inodes everywhere else; that goes for directories too, which a half-done
rename can leave under two names.  A directory that lies below itself is listed, and not entered.

A tree file is a JSON object.  A directory is a key that ends in "/" with the value null; a file is
a list of runs, each [byte, count]; a symbolic link is {"symlink": target}.  The key "links" holds
the groups, as lists of keys; a file at the root that has that name is written "./links".  Every
directory on the way to a path has a key of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

from powercut.errors import TreeError
from powercut.filesystem.content import ByteRun, Content
from powercut.filesystem.inodes import Directory, File, SymlinkInode, Tree, walk
from powercut.strict_reader import SIZE_LIMIT_BYTES, StrictReader, is_file_name, short

READ: Final = StrictReader(TreeError)
FILE_LIMIT_BYTES: Final = 1 << 62
"""The largest file that a tree may speak of."""

_LITERAL_BYTES: Final = 64  # a longer run of one byte is never expanded

Value = bytes | Content | SymlinkInode | None
"""What stands at a path: the bytes of a file, a symbolic link, or None for a directory."""


@frozen
class Node:
    """One observed inode: where it was seen first, and what it is.

    `content` belongs to a file, `target` to a symbolic link, `entries` (names to nodes) to a
    directory; the other two are None.
    """

    path: str
    content: Content | None = None
    target: str | None = None
    entries: Mapping[str, int] | None = None

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        if self.content is not None:
            return "file"
        return "symbolic link" if self.target is not None else "directory"


@frozen
class Observed:
    """A tree as it was observed: its inodes by number, the root first."""

    nodes: tuple[Node, ...]

    @classmethod
    def of(
        cls,
        entries: Mapping[str, Value],
        links: Iterable[Sequence[str]] = (),
        where: str = "the observed tree",
    ) -> Observed:
        """The tree with those paths; the "/" behind a directory may be left out.

        TreeError where the paths or the links contradict each other.
        """
        cleaned = {_clean(path, where): value for path, value in entries.items()}
        if len(cleaned) < len(entries):
            raise READ.fail(where, "a path stands there as a file and as a directory")
        return _Assembly(where, cleaned).tree(links)

    @classmethod
    def of_tree(cls, tree: Tree) -> Observed:
        """What an observer of a tree of the model sees; stale bytes read as `Content.read` says."""
        entries: dict[str, Value] = {}
        names: dict[int, list[str]] = {}
        for path, number in walk(tree):
            inode = tree[number]
            names.setdefault(number, []).append(path[1:])
            match inode:
                case File(content=content):
                    entries[path[1:]] = _as_read(content)
                case SymlinkInode():
                    entries[path[1:]] = inode
                case Directory():
                    entries[path[1:]] = None
        return cls.of(entries, [group for group in names.values() if len(group) > 1])


def read_tree(path: Path) -> Observed:
    """The tree in a JSON file. TreeError, naming the file, where it is none."""
    where = str(path)
    try:
        if not path.is_file():
            raise READ.fail(where, "cannot be read: it is missing, or no regular file")
        with path.open("rb") as opened:
            data = opened.read(SIZE_LIMIT_BYTES + 1)
        if len(data) > SIZE_LIMIT_BYTES:
            raise READ.fail(where, f"larger than {SIZE_LIMIT_BYTES} bytes, and not read")
        return parse_tree(data.decode("utf-8"), where)
    except (OSError, UnicodeDecodeError) as error:
        raise READ.fail(where, f"cannot be read: {error}") from error


def parse_tree(text: str, where: str) -> Observed:
    """The tree in a JSON text; `where` names it in errors. TreeError."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise READ.fail(where, f"the key {twice!r} stands there twice")
        return table

    try:
        raw = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise READ.fail(where, f"not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise READ.fail(where, f"expected an object of paths, found {short(raw)}")
    groups = _groups(raw.pop("links", []), where)
    entries = {_key(key): _value(key, value, where) for key, value in raw.items()}
    return Observed.of(entries, groups, where)


def _value(key: str, value: Any, where: str) -> Value:
    here = f"{where}: {key!r}"
    if key.endswith("/"):
        if value is not None:
            raise READ.fail(here, f"expected null for a directory, found {short(value)}")
        return None
    if isinstance(value, dict):
        READ.keys(value, {"symlink"}, here)
        return SymlinkInode(READ.typed(value, "symlink", str, here))
    if isinstance(value, list):
        return _content(value, here)
    expected = 'a list of [byte, count], or {"symlink": target}; a directory ends in "/"'
    raise READ.fail(here, f"expected {expected}; found {short(value)}")


def _content(pairs: list[Any], here: str) -> Content:
    """The content that a list of runs stands for. Only short runs become literal bytes."""
    runs: list[ByteRun] = []
    literal = bytearray()
    size = 0

    def flush() -> None:
        if literal:
            runs.append(ByteRun(size - len(literal), size, bytes(literal)))
            literal.clear()

    for pair in pairs:
        whole = isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair)
        if not whole or not 0 <= pair[0] <= 255 or not 1 <= pair[1] <= FILE_LIMIT_BYTES:
            raise READ.fail(
                here,
                f"expected [byte, count] with a byte and a count above 0; found {short(pair)}",
            )
        byte, count = pair
        if size + count > FILE_LIMIT_BYTES:
            raise READ.fail(here, f"the file is longer than {FILE_LIMIT_BYTES} bytes")
        if count <= _LITERAL_BYTES:
            literal += bytes((byte,)) * count
            size += count
            continue
        flush()
        runs.append(ByteRun(size, size + count, byte))
        size += count
    flush()
    return Content(size, tuple(run for run in runs if run.payload != 0))


def _groups(raw: Any, where: str) -> list[list[str]]:
    groups = raw if isinstance(raw, list) else [raw]
    for group in groups:
        if not (isinstance(group, list) and group and all(isinstance(p, str) for p in group)):
            expected = 'lists of paths (a file of that name is written "./links")'
            raise READ.fail(f"{where}: links", f"expected {expected}; found {short(group)}")
    return [[_key(path) for path in group] for group in groups]


def _key(key: str) -> str:
    return "links" if key == "./links" else key


def _clean(path: str, where: str) -> str:
    names = path.removesuffix("/").split("/")
    if not all(is_file_name(name) for name in names):
        raise READ.fail(where, f"{path!r} is no path below the root, such as 'd/f'")
    return "/".join(names)


def _as_read(content: Content) -> Content:
    """The content with its stale runs as the bytes that a program reads there."""
    if all(run.payload is not None for run in content.runs):
        return content
    runs = (run if run.payload is not None else _stale(run) for run in content.runs)
    return evolve(content, runs=tuple(runs))


def _stale(run: ByteRun) -> ByteRun:
    return ByteRun(run.start, run.stop, ByteRun(0, 1, None).read()[0])


@frozen
class _Assembly:
    """Paths being put together to a tree."""

    where: str
    entries: Mapping[str, Value]
    number: dict[str, int] = field(factory=dict)
    paths: dict[int, list[str]] = field(factory=dict)

    def tree(self, links: Iterable[Sequence[str]]) -> Observed:
        names: dict[str, dict[str, int]] = {"": {}}
        firsts = self._numbered(links)
        for path, number in self.number.items():
            parent, _, name = path.rpartition("/")
            if parent and (parent not in self.entries or self.entries[parent] is not None):
                raise READ.fail(self.where, f"{path!r} lies in {parent!r}, which is no directory")
            names.setdefault(parent, {})[name] = number
            if self.entries[path] is None:
                names.setdefault(path, {})
        nodes = [Node("", entries=names[""])]
        for path in firsts:
            value = self.entries[path]
            match value:
                case None:
                    nodes.append(Node(path, entries=self._listing(path, names)))
                case SymlinkInode(target=target):
                    nodes.append(Node(path, target=target))
                case Content():
                    nodes.append(Node(path, content=value))
                case _:
                    run = (ByteRun(0, len(value), bytes(value)),) if value else ()
                    nodes.append(Node(path, content=Content(len(value), run)))
        return Observed(tuple(nodes))

    def _numbered(self, links: Iterable[Sequence[str]]) -> list[str]:
        """Number the inodes; the first path of each, in order."""
        group_of: dict[str, tuple[str, ...]] = {}
        for raw in links:
            group = tuple(_clean(path, self.where) for path in raw)
            for path in group:
                if path not in self.entries:
                    raise READ.fail(self.where, f"links names {path!r}, which is no path here")
                if path in group_of or group.count(path) > 1:
                    raise READ.fail(self.where, f"links names {path!r} twice")
                if self.entries[path] != self.entries[group[0]]:
                    raise READ.fail(
                        self.where, f"{group[0]!r} and {path!r} are one inode, and differ"
                    )
                group_of[path] = group
        firsts: list[str] = []
        for path in sorted(self.entries):
            if path not in self.number:
                firsts.append(path)
                for other in group_of.get(path, (path,)):
                    self.number[other] = len(firsts)
                    self.paths.setdefault(len(firsts), []).append(other)
        return firsts

    def _listing(self, first: str, names: Mapping[str, dict[str, int]]) -> dict[str, int]:
        """What a directory holds: the same under each name, save where it is not entered."""
        found: tuple[str, dict[str, int]] | None = None
        for path in self.paths[self.number[first]]:
            if self._below_itself(path):
                if names[path]:
                    raise READ.fail(self.where, f"{path!r} lies below itself, and was entered")
                continue
            if found is not None and names[path] != found[1]:
                raise READ.fail(self.where, f"{found[0]!r} and {path!r} are one inode, and differ")
            found = (path, names[path])
        return {} if found is None else found[1]

    def _below_itself(self, path: str) -> bool:
        number = self.number[path]
        while path := path.rpartition("/")[0]:
            if self.number.get(path) == number:
                return True
        return False
