"""Tells which files Python needs for some modules: run alone, as the agent is, on this machine.

It reads what is asked from its input, and answers with paths: of sources, and of what is compiled.
"""

from __future__ import annotations

import encodings
import importlib
import importlib.util
import json
import sys
from importlib.machinery import ExtensionFileLoader, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType


def agent() -> ModuleType:
    """The agent, whose folder is on no path."""
    path = Path(__file__).parents[1] / "machine/agent.py"
    spec = importlib.util.spec_from_file_location("agent", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def replaced_source(name: str, module: ModuleType) -> str | None:
    """The source of a module that put another one in its own place; None for any other.

    Python 3.13 has one: collections/abc.py.
    """
    package = getattr(sys.modules.get(name.rpartition(".")[0]), "__path__", None)
    spec = getattr(module, "__spec__", None)
    if package is None or spec is None or spec.name == name:
        return None
    found = PathFinder.find_spec(name, package)
    loader = None if found is None else found.loader
    return loader.path if isinstance(loader, SourceFileLoader) else None


def main() -> None:
    """Import what is asked for and print what was read."""
    asked = json.load(sys.stdin)
    agent().import_from(asked["paths"])
    for name in asked["modules"]:
        importlib.import_module(name)
    # By this file Python finds its library, although the module itself is built in.
    sources, compiled = {str(Path(encodings.__file__).parent.with_name("os.py"))}, set()
    for name, module in tuple(sys.modules.items()):
        replaced = replaced_source(name, module)
        if replaced is not None:
            sources.add(replaced)
        if getattr(module, "__file__", None) is None:  # built in, or a package passed over
            continue
        loader = getattr(module.__spec__, "loader", None)
        if isinstance(loader, SourceFileLoader):
            sources.add(loader.path)
        elif isinstance(loader, ExtensionFileLoader):
            compiled.add(loader.path)
    print(json.dumps({"sources": sorted(sources), "compiled": sorted(compiled)}))  # noqa: T201  # its answer


if __name__ == "__main__":
    main()
