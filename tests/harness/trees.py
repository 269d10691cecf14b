"""Observed trees as the JSON that `powercut member` reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from powercut.filesystem.content import Content
from powercut.membership.observed_tree import Observed


def render_tree(tree: Observed) -> str:
    """The tree as the JSON that `parse_tree` reads, one path a line."""
    table: dict[str, Any] = {}
    groups: dict[int, list[str]] = {}
    for path, number in _paths(tree):
        node = tree.nodes[number]
        key = f"{path}/" if node.entries is not None else "./links" if path == "links" else path
        groups.setdefault(number, []).append(key)
        if node.content is not None:
            table[key] = _runs(node.content)
        else:
            table[key] = None if node.entries is not None else {"symlink": node.target}
    links = [group for group in groups.values() if len(group) > 1]
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()]
    lines += [f'"links": {json.dumps(links)}'] if links else []
    return "{" + ",\n ".join(lines) + "}\n"


def _runs(content: Content) -> list[list[int]]:
    """A content as a list of runs."""
    out: list[list[int]] = []

    def add(byte: int, count: int) -> None:
        if out and out[-1][0] == byte:
            out[-1][1] += count
        elif count:
            out.append([byte, count])

    end = 0
    for run in content.runs:
        add(0, run.start - end)
        if isinstance(run.payload, bytes):
            for byte in run.payload:
                add(byte, 1)
        else:
            add(run.read()[0] if run.payload is None else run.payload, run.stop - run.start)
        end = run.stop
    add(0, content.size - end)
    return out


def _paths(tree: Observed) -> Iterator[tuple[str, int]]:
    """Every path with its node; a directory that lies below itself is not entered."""
    todo: list[tuple[str, int, tuple[int, ...]]] = [("", 0, ())]
    while todo:
        prefix, number, above = todo.pop()
        entries = tree.nodes[number].entries or {}
        for name, child in sorted(entries.items()):
            path = f"{prefix}{name}"
            yield path, child
            if tree.nodes[child].entries is not None and child not in (*above, number):
                todo.append((f"{path}/", child, (*above, number)))
