"""Every profile that tests are about: the built-in ones, and the models that others published."""

from __future__ import annotations

import tomllib
from typing import Any, Final

from powercut.profile import Profile, load_profile, profile_names, profiles_in
from tests import ROOT

MODELS: Final = {p.name: p for p in profiles_in(ROOT / "tests/litmus/profiles")}
PROFILES: Final[dict[str, Profile]] = {n: load_profile(n) for n in profile_names()} | MODELS


def model_answers(key: str) -> dict[str, dict[str, str]]:
    """What models.toml records of each litmus test: by test and by model, "answers" or "states"."""
    found: dict[str, dict[str, str]] = {}
    tables: dict[str, Any] = tomllib.loads((ROOT / "tests/litmus/models.toml").read_text())
    for model, table in tables.items():
        for value, tests in table[key].items():
            for test in tests:
                found.setdefault(test, {})[model] = value
    return found
