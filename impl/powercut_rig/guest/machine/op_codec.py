"""Ops as values that a message can hold, and back."""

from __future__ import annotations

from typing import Any, Final

from attrs import fields

from powercut.filesystem import ops
from powercut.filesystem.content import Fill

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
