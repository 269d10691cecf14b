"""The experiments, in the order in which they run and stand in the report."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from powercut_lab.study import Study

NAMES: Final = ("crash", "corruption", "latency", "observe")


def experiment_named(name: str) -> Study:
    """The experiment of that name; KeyError for no name of `NAMES`."""
    if name not in NAMES:
        raise KeyError(name)
    found: Study = import_module(f"powercut_lab.{name}.experiment").EXPERIMENT
    return found
