"""Writes docs/api.md from the docstrings of what `lastgood` exports.

    python scripts/generate_api.py [--check]

With --check nothing is written, and the exit status is 1 where the page is stale.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "impl"))

import lastgood  # noqa: E402
from lastgood import guard  # noqa: E402

PAGE = ROOT / "docs" / "api.md"
HEAD = """# API of lastgood

Made by `python scripts/generate_api.py` from the docstrings; edit those.
[guide.md](guide.md) shows how it is used.
"""


def main() -> int:
    """Write the page, or say that it is stale."""
    fresh = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(fresh, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == fresh:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is stale; run python scripts/generate_api.py")  # noqa: T201
    return 1


def page() -> str:
    """The whole page: everything in `__all__`, classes with their public members."""
    guarded = ["# API of lastgood.guard\n", f"{inspect.getdoc(guard)}\n"]
    return "\n".join([HEAD, *entries(lastgood), *guarded, *entries(guard)])


def entries(package: ModuleType) -> Iterator[str]:
    """The exports of a package, in alphabetical order."""
    for name in sorted(package.__all__, key=str.lower):
        thing = getattr(package, name)
        said = text_of(thing) if callable(thing) else f"`{thing!r}`"
        yield f"## `{name}{signature(thing)}`\n\n{said}\n"
        if inspect.isclass(thing) and not issubclass(thing, BaseException):
            yield from (f"* `{member}`: {said}\n" for member, said in members(thing))


def members(cls: type) -> list[tuple[str, str]]:
    """The public methods and properties, with what they say of themselves in one paragraph."""
    found = []
    for name, member in inspect.getmembers(cls):
        if name.startswith("_") or not (callable(member) or isinstance(member, property)):
            continue
        owner = member.fget if isinstance(member, property) else member
        said = inspect.getdoc(member) or "See `"
        if said.startswith("See `") or not getattr(owner, "__module__", "").startswith("lastgood"):
            continue
        kept = " ".join(text_of(member).split())
        found.append((f"{name}{signature(member)}", kept))
    return found


def signature(thing: object) -> str:
    """Its parameters as they are written; nothing for a property."""
    if isinstance(thing, property) or not callable(thing):
        return ""
    if isinstance(thing, type) and issubclass(thing, BaseException):
        return ""
    parameters = [
        parameter
        for parameter in inspect.signature(thing).parameters.values()
        if parameter.name != "self" and not parameter.name.startswith("_")
    ]
    shown, starred = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        default = parameter.default
        plain = isinstance(default, str | int | float | bool | type(None))
        has = default is not parameter.empty
        shown.append(f"{parameter.name}{f'={default!r}' if has and plain else '=…' if has else ''}")
    return f"({', '.join(shown)})"


def text_of(thing: object) -> str:
    """Its docstring."""
    return inspect.getdoc(thing) or ""


if __name__ == "__main__":
    sys.exit(main())
