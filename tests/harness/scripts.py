"""The programs under scripts/, as modules."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from tests import ROOT


def load_script(name: str) -> ModuleType:
    """The program of that name; those that it imports lie beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module(name)
