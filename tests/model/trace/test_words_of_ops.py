"""Ops in a trace: what the model has no word for, and the bytes that a fill may have."""

from __future__ import annotations

import pytest

from powercut.errors import TraceError
from powercut.filesystem.content import Fill
from powercut.filesystem.ops import NOT_MODELLED, Write
from powercut.trace.trace_file import parse_data, parse_op, parse_step


@pytest.mark.parametrize(
    "name", ["falloc", "fallocate", "setxattr", "removexattr", "chmod", "chown", "utimens", "mknod"]
)
def test_an_op_that_is_not_modelled_is_told_from_one_that_nobody_knows(name: str) -> None:
    with pytest.raises(TraceError, match=NOT_MODELLED[name]):
        parse_step({"id": "x", "op": name, "path": "/a"}, "a test")


def test_a_fill_is_one_byte() -> None:
    assert parse_data({"fill": 255, "size": 3}, "a test") == Fill(255, 3)
    assert parse_data({"fill": 0, "size": 3}, "a test") == Fill(0, 3)
    with pytest.raises(TraceError, match="fill is 256, expected a byte"):
        parse_data({"fill": 256, "size": 3}, "a test")


def test_a_write_through_a_handle_has_the_flags_of_its_open_and_none_of_its_own() -> None:
    table = {"op": "write", "path": "@h", "offset": 0, "text": "x", "flags": ["O_SYNC"]}
    with pytest.raises(TraceError, match="give them to its `open`"):
        parse_op(table, "here")

    assert parse_op({**table, "path": "/h"}, "here") == Write("/h", 0, b"x", ("O_SYNC",))
