"""State machines of Hypothesis, run on one file system each."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine


def run_machine(kind: type[RuleBasedStateMachine], fs: str, examples: int, steps: int) -> None:
    """Run a machine, which finds the file system as its attribute `fs`."""
    machine: Any = type("Machine", (kind,), {"fs": fs})
    case = machine.TestCase
    case.settings = settings(
        max_examples=examples, stateful_step_count=steps, suppress_health_check=list(HealthCheck)
    )
    case("runTest").runTest()
