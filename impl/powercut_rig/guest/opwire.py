"""Ops and trees as values that a message can hold, and back."""

from __future__ import annotations

from typing import Any, Final

from attrs import fields

from powercut import ops
from powercut.content import Fill
from powercut_rig.tree import Sight, Tag, Tree

_KINDS: Final[dict[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        ops.Append, ops.Barrier, ops.Close, ops.Create, ops.Fdatasync, ops.Fsync, ops.Fullsync,
        ops.Link, ops.Mapwrite, ops.Mark, ops.Mkdir, ops.Msync, ops.Open, ops.Rename, ops.Rmdir,
        ops.Symlink, ops.Sync, ops.Tmpfile, ops.Truncate, ops.Unlink, ops.Write,
    )
}  # fmt: skip
_FILL: Final = "fill"


def op_to(op: ops.Op) -> list[Any]:
    """An op as its kind and its arguments."""
    return [type(op).__name__, *(_plain(getattr(op, each.name)) for each in fields(type(op)))]


def op_from(value: list[Any]) -> ops.Op:
    """The op. ValueError for what is none."""
    if not value or value[0] not in _KINDS:
        raise ValueError(f"{value[:1]} is no op")
    made: ops.Op = _KINDS[value[0]](*map(_rich, value[1:]))
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, Fill):
        return {_FILL: [value.byte, value.size_bytes]}
    return list(value) if isinstance(value, tuple) else value


def _rich(value: Any) -> Any:
    if isinstance(value, dict):
        return Fill(*value[_FILL])
    return tuple(value) if isinstance(value, list) else value


def sight_to(sight: Sight) -> list[Any]:
    """A tree as [path, content or None or [tag, detail]] for each entry, and its links."""
    entries = [
        [_name(path), [value.kind, _name(value.detail)] if isinstance(value, Tag) else value]
        for path, value in sight.tree.items()
    ]
    return [entries, [[_name(path) for path in group] for group in sight.links]]


def sight_from(value: Any) -> Sight:
    """The tree, from an answer that nobody vouches for. ValueError where it is none."""
    try:
        entries, links = value
        tree: Tree = {}
        for path, content in entries:
            if isinstance(content, list):
                kind, detail = content
                tree[_text(path)] = Tag(str(kind), _text(detail))
            elif content is None or isinstance(content, bytes):
                tree[_text(path)] = content
            else:
                raise ValueError(f"{type(content).__name__} is no content")
        return Sight(tree, tuple(tuple(_text(path) for path in group) for group in links))
    except (TypeError, UnicodeError) as error:
        raise ValueError(f"this is no tree: {error}") from error


def _name(path: str) -> bytes:
    """A name as the bytes that it has on the disk, which need not be text."""
    return path.encode(errors="surrogateescape")


def _text(path: bytes) -> str:
    return path.decode(errors="surrogateescape")
