"""A subject: the protocol under test, found by name through the entry points `powercut.subjects`.

powercut knows a subject by its shape only.  `NAME:MODE` names one: `lastgood:atomic_dirsync`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final, Protocol

from attrs import frozen

from powercut.errors import SubjectError
from powercut.profile import Profile
from powercut.simulation.model_disk import SubjectDisk

GROUP: Final = "powercut.subjects"
STORE: Final = "/ckpt/run"
"""Where a subject keeps its store in the model: neither directory exists at first."""


class Recovered(Protocol):
    """The group that a recovery handed out, verified by its own lights.

    It may have two attributes more.  `passed_over` is what recovery found damaged and newer, as a
    mapping from names of entries of the store to reasons.  A session has it instead, where its
    recovery returned nothing.  Whoever has none reports nothing, and P7 asks for that.  `step` is
    the one that the save was given; P1 asks for it, and for the generation, where it is there.
    """

    @property
    def generation(self) -> int:
        """The number that only grows from save to save."""

    @property
    def parts(self) -> Mapping[str, bytes]:
        """What the program would read."""


class Session(Protocol):
    """A process that may write to the store."""

    def save(self, step: int, parts: Mapping[str, bytes]) -> int:
        """Save a group; returning its generation acknowledges it."""

    def recover(self) -> Recovered | None:
        """The newest valid group, made durable before it is handed out; None for none."""

    def close(self) -> None:
        """Give the lease back."""


class Plan(Protocol):
    """What an entry point must provide: a protocol that can run in several modes.

    One whose saves and recoveries give older groups up says in an attribute `keeps` how many
    undamaged ones it keeps; without it, all are asked for.
    """

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that it can run in."""

    def open(self, disk: SubjectDisk, store: str, mode: str, rename_is_atomic: bool) -> Session:
        """Start a process that may write; makes the store where it is missing."""

    def read(self, disk: SubjectDisk, store: str) -> Recovered | None:
        """Load the newest valid group and change nothing."""

    def real_disk(self) -> SubjectDisk:
        """The disk that the subject uses in production, for the rig."""


@frozen
class Subject:
    """A protocol in one mode, ready to run on disks of the model."""

    name: str
    mode: str
    protocol: Plan

    @property
    def label(self) -> str:
        """The subject as the command line spells it."""
        return f"{self.name}:{self.mode}"

    @property
    def keeps(self) -> int | None:
        """How many undamaged groups the protocol keeps; None for all."""
        count: int | None = getattr(self.protocol, "keeps", None)
        return count

    def open(self, disk: SubjectDisk, profile: Profile) -> Session:
        """Start a writing process on `disk`, told what it may rely on."""
        session: Session = self.protocol.open(
            disk, STORE, self.mode, profile.has("rename-atomic") or profile.has("op-atomic")
        )
        return session

    def read(self, disk: SubjectDisk) -> Recovered | None:
        """Load without writing."""
        found: Recovered | None = self.protocol.read(disk, STORE)
        return found


def passed_over(answer: Recovered | Session) -> Mapping[str, str]:
    """What a recovery reports as damaged: names of entries of the store, and reasons."""
    said: Mapping[str, str] = getattr(answer, "passed_over", {})
    return said


def subject_names() -> list[str]:
    """Every `NAME:MODE` that is installed, sorted."""
    return sorted(
        f"{point.name}:{mode}" for point in entry_points(group=GROUP) for mode in point.load().modes
    )


def load_subject(label: str) -> Subject:
    """The subject `NAME:MODE`. SubjectError names what there is."""
    name, colon, mode = label.partition(":")
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        close = difflib.get_close_matches(name, points, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        known = ", ".join(sorted(points)) or "none: is the package installed?"
        raise SubjectError(f"unknown subject {name!r}{hint}. Known: {known}. Nothing was run.")
    protocol = points[name].load()
    if not colon or mode not in protocol.modes:
        raise SubjectError(
            f"subject {label!r}: mode is {mode!r}, expected one of {', '.join(protocol.modes)}: "
            f"{name}:{protocol.modes[-1]}. Nothing was run."
        )
    return Subject(name, mode, protocol)
