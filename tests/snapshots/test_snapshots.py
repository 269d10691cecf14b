"""The exact text of help, explanations and errors, as a reader sees it."""

from __future__ import annotations

import pytest

from tests.snapshots.texts import FOLDER, TEXTS


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_is_what_was_agreed(name: str) -> None:
    # Meant to change it? `python -m tests.snapshots`, then read the diff.
    assert TEXTS[name]() == (FOLDER / name).read_text(encoding="utf-8")


def test_every_kept_text_is_made_by_something() -> None:
    assert {path.name for path in FOLDER.glob("*.txt")} == set(TEXTS)
