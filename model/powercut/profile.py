"""Profiles: which rules a file system follows, as data with sources and evidence.

A profile is a TOML file under profiles/ (or any path that ends in `.toml`).  Loading one checks
every word of it; an unknown rule, key or grade is an error that names the file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen

from powercut.errors import ProfileError
from powercut.rules import RULES, Kind, Rule

CRASH_CLASSES: Final = ("process", "kernel", "power")
"""A program dies; the kernel dies and the drive finishes its cache; the cache is lost too."""

EVIDENCE: Final = ("documented", "measured", "inferred", "assumed")
"""How a claim about a file system is known, strongest first."""

_MACHINE_CLASSES: Final = frozenset({"kernel", "power"})


@frozen
class Claim:
    """One rule in one profile: for which crash classes, by what evidence, from what source."""

    rule: Rule
    evidence: str
    source: str
    classes: frozenset[str] = _MACHINE_CLASSES
    note: str = ""
    measure: str = ""


@frozen
class Profile:
    """What a file system leaves after a crash: rules relied on, and rules in doubt.

    `unknown` rules are not relied on; a property that holds only with them is `unknown`.
    `block_bytes` is the unit in which data reach the medium and can be torn.
    """

    name: str
    title: str
    block_bytes: int
    claims: tuple[Claim, ...]
    unknown: tuple[Claim, ...] = ()
    weaker_than: tuple[str, ...] = ()

    def rules(self, kind: Kind, crash_class: str) -> tuple[Rule, ...]:
        """The rules of one kind that hold for a crash class, in the profile's order."""
        return tuple(
            c.rule for c in self.claims if c.rule.kind == kind and crash_class in c.classes
        )

    def has(self, rule_id: str) -> bool:
        """The profile relies on that rule."""
        return any(c.rule.id == rule_id for c in self.claims)

    def without(self, rule_id: str) -> Profile:
        """The same profile without one rule: a mutant, for tests and explanations."""
        return evolve(self, claims=tuple(c for c in self.claims if c.rule.id != rule_id))

    def with_unknown(self) -> Profile:
        """The profile as it would be if every rule in doubt held."""
        return evolve(self, claims=(*self.claims, *self.unknown), unknown=())


def profile_names() -> list[str]:
    """The names of the built-in profiles, sorted."""
    folder = resources.files("powercut") / "profiles"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


@cache
def load_profile(name: str) -> Profile:
    """A built-in profile by name, or one from a path that ends in `.toml`. ProfileError."""
    if name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(
                f"profile {name!r} cannot be read: {error}. Nothing was run."
            ) from error
        return parse_profile(text, name)
    if name not in profile_names():
        raise ProfileError(
            f"unknown profile {name!r}{_hint(name, profile_names())}. "
            f"Known: {', '.join(profile_names())}, or a path to a .toml file. Nothing was run."
        )
    text = (resources.files("powercut") / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_profile(text, f"profiles/{name}.toml")


def parse_profile(text: str, where: str) -> Profile:
    """The profile in `text`; `where` names the file in errors. ProfileError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{where}: not TOML: {error}") from error
    _known_keys(raw, {"schema", "name", "title", "weaker_than", "units", "rule", "unknown"}, where)
    if raw.get("schema") != 1:
        raise ProfileError(f"{where}: schema is {raw.get('schema')!r}, expected 1")
    units = _typed(raw, "units", dict, where)
    _known_keys(units, {"block_bytes"}, f"{where}: [units]")
    block_bytes = _typed(units, "block_bytes", int, f"{where}: [units]")
    if block_bytes < 1:
        raise ProfileError(f"{where}: block_bytes is {block_bytes}, expected 1 or more")
    return Profile(
        name=_typed(raw, "name", str, where),
        title=_typed(raw, "title", str, where),
        block_bytes=block_bytes,
        claims=tuple(_claims(raw.get("rule", []), f"{where}: [[rule]]")),
        unknown=tuple(_claims(raw.get("unknown", []), f"{where}: [[unknown]]")),
        weaker_than=tuple(raw.get("weaker_than", [])),
    )


def _claims(tables: Any, where: str) -> Iterable[Claim]:
    """The claims of a list of [[rule]] or [[unknown]] tables, each checked."""
    if not isinstance(tables, list):
        raise ProfileError(f"{where}: expected a list of tables")
    for table in tables:
        _known_keys(table, {"id", "evidence", "source", "classes", "note", "measure"}, where)
        rule_id = _typed(table, "id", str, where)
        if rule_id not in RULES:
            raise ProfileError(
                f"{where}: no rule has the id {rule_id!r}{_hint(rule_id, RULES)}. "
                f"Known: {', '.join(sorted(RULES))}"
            )
        here = f"{where} {rule_id}"
        evidence = _typed(table, "evidence", str, here)
        if evidence not in EVIDENCE:
            raise ProfileError(f"{here}: evidence is {evidence!r}, expected one of {EVIDENCE}")
        classes = frozenset(table.get("classes", _MACHINE_CLASSES))
        if not classes or not classes <= _MACHINE_CLASSES:
            raise ProfileError(
                f"{here}: classes are {sorted(classes)}, expected kernel, power or both"
            )
        yield Claim(
            RULES[rule_id],
            evidence,
            _typed(table, "source", str, here),
            classes,
            table.get("note", ""),
            table.get("measure", ""),
        )


def _typed(table: dict[str, Any], key: str, kind: type, where: str) -> Any:
    """The value of a required key, of the required type."""
    if key not in table:
        raise ProfileError(f"{where}: the key {key!r} is missing")
    value = table[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ProfileError(f"{where}: {key} is {value!r}, expected {kind.__name__}")
    return value


def _known_keys(table: Any, known: set[str], where: str) -> None:
    """Refuse a table with a key that nobody reads."""
    if not isinstance(table, dict):
        raise ProfileError(f"{where}: expected a table")
    for key in table:
        if key not in known:
            raise ProfileError(f"{where}: unknown key {key!r}{_hint(key, known)}")


def _hint(word: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt word."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
