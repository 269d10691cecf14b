"""The lab's errors: each says what was found, what is intact, and what to do next."""

from __future__ import annotations


class LabError(Exception):
    """A request cannot be meant, or a file is not what it should be; nothing was changed."""


class LabUnavailable(LabError):  # noqa: N818 - a state of the machine, not a mistake
    """A package that the whole lab needs is not installed."""
