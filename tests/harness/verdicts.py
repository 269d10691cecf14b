"""What enumeration says of a subject by its name."""

from __future__ import annotations

from typing import Final

from powercut.checker.exhaustive import Bound, enumerate_verdicts
from powercut.profile import load_profile
from powercut.simulation.oracle import OF_CRASHES
from powercut.simulation.subject import load_subject

ALL: Final = OF_CRASHES
UNBROKEN: Final = ("holds", "not refuted")
"""The words for a property that no history broke: proved within the bound, or nothing found."""


def verdicts_of(
    label: str, profile: str, crash_class: str, *bounds: Bound, of: tuple[str, ...] = ALL
) -> dict[str, str]:
    """The verdict on each property, from every history within each of the bounds."""
    found = enumerate_verdicts(load_subject(label), load_profile(profile), crash_class, of, *bounds)
    return {name: verdict.verdict for name, verdict in found.items()}


def broken_by(
    label: str, profile: str, crash_class: str, *bounds: Bound, of: tuple[str, ...] = ALL
) -> dict[str, str]:
    """The same, without what no history broke; a search may be cut off."""
    found = verdicts_of(label, profile, crash_class, *bounds, of=of)
    return {name: word for name, word in found.items() if word not in UNBROKEN}
