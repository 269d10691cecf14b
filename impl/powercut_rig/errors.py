"""The rig's errors: each says what was found, what is still intact, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence


class RigError(Exception):
    """The rig could not do what was asked; everything it had made is removed."""


class RigUnavailable(RigError):  # noqa: N818 - a state of the machine, not a mistake
    """This machine cannot run the rig; `reasons` holds a plain sentence for each lack."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(
            "The rig cannot run here; nothing was changed. " + " ".join(self.reasons)
            if self.reasons
            else "The rig cannot run here; nothing was changed."
        )

    def __reduce__(self) -> tuple[type[RigUnavailable], tuple[tuple[str, ...]]]:
        """Pickles by its reasons, so that it crosses from the worker to its parent."""
        return (type(self), (self.reasons,))


class ImageRefused(RigError):  # noqa: N818 - a finding about the file system, not a mistake
    """The file system would not mount a crash image; the image is intact and others can follow."""
