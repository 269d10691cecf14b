"""Steps: what a plan asks of a back end, as immutable values. No I/O here.

Paths are absolute; a part is named by its path inside the group.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen


class SimpleStep:
    """One call of a back end, or a few on one file. `doing` says it to people."""

    doing: ClassVar[str]


@frozen
class _PathStep(SimpleStep):
    path: str


@frozen
class MakeDir(_PathStep):
    """A new, empty directory."""

    doing: ClassVar[str] = "making the directory"


@frozen
class CreateFile(_PathStep):
    """A new, empty file, open for writing until `CloseFile`."""

    doing: ClassVar[str] = "creating"


@frozen
class WritePart(_PathStep):
    """The content of one part, in chunks; it is digested from memory on the way."""

    doing: ClassVar[str] = "writing"

    part: str


@frozen
class ReadPart(_PathStep):
    """A part that other code wrote; it is digested from its file."""

    doing: ClassVar[str] = "reading"

    part: str


@frozen
class WriteRecord(_PathStep):
    """A record about the parts written so far (a manifest, a commit), in one write."""

    doing: ClassVar[str] = "writing"

    record: str


@frozen
class SyncFile(_PathStep):
    """An fsync of a file."""

    doing: ClassVar[str] = "syncing"


@frozen
class CloseFile(_PathStep):
    """The end of what `CreateFile` began."""

    doing: ClassVar[str] = "closing"


@frozen
class SyncDir(_PathStep):
    """An fsync of a directory."""

    doing: ClassVar[str] = "syncing"


@frozen
class FullSyncDir(_PathStep):
    """A sync of a directory that also makes the drive keep all that it was given before."""

    doing: ClassVar[str] = "syncing"


@frozen
class RenameEntry(SimpleStep):
    """`src` becomes `dst`, in one directory or between two of one store."""

    doing: ClassVar[str] = "renaming"
    src: str
    dst: str


@frozen
class Remove(_PathStep):
    """One name of a file goes."""

    doing: ClassVar[str] = "removing"


@frozen
class RemoveDir(_PathStep):
    """An empty directory goes."""

    doing: ClassVar[str] = "removing the directory"


@frozen
class Together:
    """Branches of steps that owe each other no order. Each branch keeps its own."""

    branches: tuple[tuple[SimpleStep, ...], ...]


Step = SimpleStep | Together


def describe_step(step: SimpleStep) -> str:
    """A step for people: what was asked, and of which entry."""
    if isinstance(step, RenameEntry):
        return f"{step.doing} {step.src!r} to {step.dst!r}"
    return f"{step.doing} {getattr(step, 'path', '')!r}"
