"""Permissions that a history needs: without one of them, a crash of it is illegal."""

from __future__ import annotations

from collections.abc import Sequence

from powercut.errors import IllegalCrashError
from powercut.profile import Profile
from powercut.rule import Rule
from powercut.simulation.subject import Subject
from powercut.simulation.world import Step, World


def needed_permissions(
    steps: Sequence[Step], profile: Profile, subject: Subject | None
) -> tuple[Rule, ...]:
    """Each permission of the profile without which one of the crashes is illegal.

    Where either of two would do, none of the two is among them.
    """
    return tuple(
        claim.rule
        for claim in profile.claims
        if claim.rule.permits and not _can_happen(steps, profile.without(claim.rule.id), subject)
    )


def _can_happen(steps: Sequence[Step], profile: Profile, subject: Subject | None) -> bool:
    world = World(profile, subject)
    try:
        for step in steps:
            world.apply(step)
    except IllegalCrashError:
        return False
    return True
