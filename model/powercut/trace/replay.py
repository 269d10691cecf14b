"""Replaying a trace: the same file gives the same verdict on any machine."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from powercut.errors import PowercutError, TraceError
from powercut.profile import Profile, load_profile
from powercut.simulation.subject import Subject, load_subject
from powercut.simulation.world import World
from powercut.trace.trace_file import Trace


@frozen
class Replayed:
    """What replaying a trace gave: the verdict on its property, and the final world."""

    trace: Trace
    verdict: str
    because: str
    world: World

    @property
    def agrees(self) -> bool:
        """The verdict is the one that the file records."""
        return self.verdict == self.trace.verdict

    def to_json(self, path: str) -> dict[str, Any]:
        """The result as `powercut replay --json` prints it."""
        return {
            "trace": path,
            "kind": self.trace.kind,
            "subject": self.trace.subject,
            "profile": self.world.profile.name,
            "property": self.trace.property,
            "recorded": self.trace.verdict,
            "verdict": self.verdict,
            "agrees": self.agrees,
            "because": self.because,
        }


def world_of(trace: Trace, profile: Profile | None = None) -> World:
    """The world in which a trace begins. ProfileError, SubjectError."""
    subject: Subject | None = load_subject(trace.subject) if trace.subject else None
    return World(profile or load_profile(trace.profile), subject)


def replay(trace: Trace, where: str, profile: Profile | None = None) -> Replayed:
    """Take every step of the trace and judge its property.

    TraceError names the step that the model refuses: an op that the kernel would refuse, or a crash
    that the profile forbids. `profile` stands in for the one that the trace names.
    """
    world = world_of(trace, profile)
    for position, step in enumerate(trace.steps, start=1):
        try:
            world.apply(step)
        except (OSError, PowercutError) as error:
            raise TraceError(f"{where}: step {position} is impossible: {error}") from error
    broken = [v for v in world.violations if v.property == trace.property]
    return Replayed(
        trace,
        "fails" if broken else "holds",
        broken[0].because if broken else "",
        world,
    )
