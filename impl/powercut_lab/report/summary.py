"""The box at the top of the page: which mode where, and what it costs. From the sections alone."""

from __future__ import annotations

from collections.abc import Mapping

from powercut_lab.study import Section


def summary_of(sections: Mapping[str, Section]) -> Section | None:
    """The box; None where nothing says anything of a mode."""
    del sections
    return None
