"""Prints how the packages are built: circles, long modules, rooms at the top, names used twice.

Usage: python scripts/structure.py

A *room* is a module or a wing (a folder of modules) directly inside a package.  A *circle* is a
set of modules, or of rooms, that import one another.  Only the project's own packages are
read, each by itself: who may import whom between them is a contract of `make lint`.

Exit status: 0 no circle, no module over 400 lines but rules.py, no class name used twice; 1 not so.
"""

import ast
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"powercut": "model", "lastgood": "impl", "powercut_lab": "impl", "powercut_rig": "impl"}
LONGEST_LINES = 400
MAY_BE_LONG = ROOT / "model/powercut/rules.py"  # the one file that is the model


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The sets of nodes that reach one another, each sorted. O(nodes x arrows)."""
    reached = {}
    for start in arrows:
        seen, todo = set(), [start]
        while todo:
            for node in arrows.get(todo.pop(), ()):
                if node not in seen:
                    seen.add(node)
                    todo.append(node)
        reached[start] = seen
    found = {
        tuple(sorted(other for other in seen if start in reached.get(other, ())))
        for start, seen in reached.items()
        if start in seen
    }
    return sorted(list(circle) for circle in found)


def room(module: str) -> str:
    """The first two names of a module's path: its package and its room."""
    return ".".join(module.split(".")[:2])


def arrows_of(graph: grimp.ImportGraph, package: str) -> dict[str, set[str]]:
    """The imports inside one package, by module. A wing's own `__init__` counts as its module."""
    modules = {name for name in graph.modules if name.split(".")[0] == package}
    return {name: graph.find_modules_directly_imported_by(name) & modules for name in modules}


def between_rooms(arrows: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """The same, of rooms."""
    found: dict[str, set[str]] = {}
    for module, imported in arrows.items():
        rooms = found.setdefault(room(module), set())
        rooms.update(room(other) for other in imported)
        rooms.discard(room(module))
    return found


def files(package: str) -> list[Path]:
    """The modules of a package."""
    return sorted((ROOT / PACKAGES[package] / package).rglob("*.py"))


def classes_defined_twice(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Names of classes that more than one place defines, private ones left out."""
    homes: dict[str, list[str]] = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    return {name: places for name, places in sorted(homes.items()) if len(places) > 1}


def main() -> int:
    """Print what is found; 1 where something is not as it should be."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    wrong = 0
    for package in PACKAGES:
        arrows = arrows_of(graph, package)
        rooms = between_rooms(arrows)
        tops = {path.stem for path in files(package) if path.parent.name == package}
        tops |= {path.parent.name for path in files(package) if path.parent.parent.name == package}
        found = [*circles(arrows), *circles(rooms)]
        long = [
            f"{path.relative_to(ROOT)} ({lines})"
            for path in files(package)
            if (lines := len(path.read_text().splitlines())) > LONGEST_LINES and path != MAY_BE_LONG
        ]
        print(f"{package}: {len(arrows)} modules, {len(tops - {'__init__'})} rooms at the top")
        print(f"  circles: {len(found)}" + "".join(f"\n    {' <-> '.join(each)}" for each in found))
        print(f"  modules over {LONGEST_LINES} lines: {', '.join(long) or 'none but rules.py'}")
        wrong += len(found) + len(long)
    twice = classes_defined_twice(path for package in PACKAGES for path in files(package))
    print(f"class names defined twice: {len(twice)}")
    for name, places in twice.items():
        print(f"  {name}: {', '.join(places)}")
    return 1 if wrong or twice else 0


if __name__ == "__main__":
    sys.exit(main())
