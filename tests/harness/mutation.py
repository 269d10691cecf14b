"""A slip of a programmer in the library: its own source, changed in one place."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

Function = Callable[..., Any]


def slip(patch: pytest.MonkeyPatch, function: Function, before: str, after: str) -> None:
    """Let a function or method have `after` where its source has `before`, for all who use it."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(before) == 1, f"{function.__qualname__}: found no {before!r}, or several"
    module = sys.modules[function.__module__]
    namespace = dict(vars(module))
    exec(source.replace(before, after), namespace)  # noqa: S102
    owner, _, name = function.__qualname__.rpartition(".")
    users = [vars(module)[owner]] if owner else _users_of(name, function)
    for user in users:
        patch.setattr(user, name, namespace[name])


def _users_of(name: str, function: Function) -> list[Any]:
    """The modules of the library in which that name means that function."""
    ours = [module for key, module in sys.modules.items() if key.startswith("lastgood")]
    return [module for module in ours if vars(module).get(name) is function]
