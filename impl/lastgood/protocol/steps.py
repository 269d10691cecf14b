"""Steps: what a plan asks of a back end, as immutable values. No I/O here.

Paths are absolute; a part is named by its path inside the group.
"""

from __future__ import annotations

from attrs import frozen


class SimpleStep:
    """One call of a back end, or a few on one file."""


@frozen
class _PathStep(SimpleStep):
    path: str


@frozen
class MakeDir(_PathStep):
    """A new, empty directory."""


@frozen
class CreateFile(_PathStep):
    """A new, empty file, open for writing until `CloseFile`."""


@frozen
class WritePart(_PathStep):
    """The content of one part, in chunks; it is digested from memory on the way."""

    part: str


@frozen
class ReadPart(_PathStep):
    """A part that other code wrote; it is digested from its file."""

    part: str


@frozen
class WriteRecord(_PathStep):
    """A record about the parts written so far (a manifest, a commit), in one write."""

    record: str


@frozen
class SyncFile(_PathStep):
    """An fsync of a file."""


@frozen
class CloseFile(_PathStep):
    """The end of what `CreateFile` began."""


@frozen
class SyncDir(_PathStep):
    """An fsync of a directory."""


@frozen
class FullSyncDir(_PathStep):
    """A sync of a directory that also makes the drive keep all that it was given before."""


@frozen
class RenameEntry(SimpleStep):
    """`src` becomes `dst`, in one directory or between two of one store."""

    src: str
    dst: str


@frozen
class Remove(_PathStep):
    """One name of a file goes."""


@frozen
class RemoveDir(_PathStep):
    """An empty directory goes."""


@frozen
class Together:
    """Branches of steps that owe each other no order. Each branch keeps its own."""

    branches: tuple[tuple[SimpleStep, ...], ...]


Step = SimpleStep | Together


def describe_step(step: Step) -> str:
    """A step for people: what was asked, and of which entry."""
    if isinstance(step, RenameEntry):
        return f"Rename {step.src!r}"
    return f"{type(step).__name__} {getattr(step, 'path', '')!r}"
