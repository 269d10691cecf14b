"""A contract: a promise on a domain, a mutant that breaks it, and inputs to count the domain by."""

from __future__ import annotations

import ast
import inspect
import itertools
import os
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from attrs import frozen

from tests import ROOT

LIMIT = 1 << 62
"""Sizes, offsets and times of a domain are below it."""

Promise = Callable[..., None]


@frozen
class Mutant:
    """One change of one source file, such as a slip of a programmer would make."""

    file: str
    old: str
    new: str

    def plant(self, folder: Path) -> Path:
        """A source root in `folder` with the change; its other files are links to the real ones.

        ValueError where the text to change is not in the file exactly once: nothing was written.
        """
        root, _, _ = self.file.partition("/")
        text = (ROOT / self.file).read_text()
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.file}: found {self.old!r} {text.count(self.old)} times, expected it once. "
                "Choose another mutant of this contract."
            )
        shutil.copytree(
            ROOT / root, folder / root, True, shutil.ignore_patterns("__pycache__"), os.symlink
        )
        changed = folder / self.file
        changed.unlink()
        changed.write_text(text.replace(self.old, self.new))
        return folder / root


@frozen
class Contract:
    """A promise, its mutant, and some values for each argument, the edges of the domain among them.

    The docstring of the promise names the domain behind "Domain:".
    """

    promise: Promise
    mutant: Mutant
    values: tuple[Sequence[Any], ...]

    @property
    def name(self) -> str:
        """The name of the promise."""
        return self.promise.__name__

    @property
    def target(self) -> str:
        """The promise as CrossHair wants it named."""
        return f"{self.promise.__module__}.{self.name}"

    @property
    def domain(self) -> str:
        """The domain in words."""
        said = re.search(r"Domain: (.*)\Z", inspect.getdoc(self.promise) or "", re.DOTALL)
        return " ".join(said[1].split()) if said else ""

    def satisfying(self) -> Iterator[tuple[Any, ...]]:
        """The combinations of the values that the domain holds; each is checked on the way.

        AssertionError where the promise is broken.
        """
        last_line = _last_line_of_domain(self.promise)
        for given in itertools.product(*self.values):
            try:
                self.promise(*given)
            except AssertionError as error:
                if not _failed_up_to(last_line, self.promise, error.__traceback__):
                    raise
            else:
                yield given


ENTERED: list[Contract] = []
"""All contracts whose modules were imported, in the order of the text."""


def contract(mutant: Mutant, *values: Sequence[Any]) -> Callable[[Promise], Promise]:
    """Enter a promise into ENTERED. It stays the plain function that CrossHair reads."""

    def enter(promise: Promise) -> Promise:
        ENTERED.append(Contract(promise, mutant, values))
        return promise

    return enter


def _last_line_of_domain(promise: Promise) -> int:
    """The last line of the asserts that lead the function: they are its domain."""
    lines, first = inspect.getsourcelines(promise)
    function = ast.parse(textwrap.dedent("".join(lines))).body[0]
    assert isinstance(function, ast.FunctionDef)
    leading = itertools.takewhile(lambda each: isinstance(each, ast.Assert), function.body[1:])
    return first - 1 + max((each.end_lineno or 0 for each in leading), default=0)


def _failed_up_to(line: int, promise: Promise, traceback: TracebackType | None) -> bool:
    """The error was raised by the function itself, no further down than that line."""
    while traceback is not None and traceback.tb_frame.f_code is not promise.__code__:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_next is None and traceback.tb_lineno <= line
