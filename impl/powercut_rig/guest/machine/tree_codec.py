"""Trees as values that a message can hold, and back."""

from __future__ import annotations

from typing import Any

from powercut_rig.mounted.tree_reader import Tag, Tree, TreeSnapshot


def snapshot_to(snapshot: TreeSnapshot) -> list[Any]:
    """A tree as [path, content or None or [tag, detail]] for each entry, and its links."""
    entries = [
        [_name(path), [value.kind, _name(value.detail)] if isinstance(value, Tag) else value]
        for path, value in snapshot.tree.items()
    ]
    return [entries, [[_name(path) for path in group] for group in snapshot.links]]


def snapshot_from(value: Any) -> TreeSnapshot:
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
        return TreeSnapshot(tree, tuple(tuple(_text(path) for path in group) for group in links))
    except (TypeError, AttributeError, UnicodeError) as error:
        raise ValueError(f"this is no tree: {error}") from error


def _name(path: str) -> bytes:
    """A name as the bytes that it has on the disk, which need not be text."""
    return path.encode(errors="surrogateescape")


def _text(path: bytes) -> str:
    return path.decode(errors="surrogateescape")
