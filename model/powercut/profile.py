"""Profiles: which rules a file system follows, as data with sources and evidence.

A profile is a TOML file under profiles/ (or any path that ends in `.toml`).  Loading one checks
every word of it; an unknown rule, key or grade is an error that names the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen

from powercut.errors import ProfileError
from powercut.reading import Reader, hint
from powercut.rules import RULES, Kind, Rule

CRASH_CLASSES: Final = ("process", "kernel", "power")
"""A program dies; the kernel dies and the drive finishes its cache; the cache is lost too."""

EVIDENCE: Final = ("documented", "measured", "inferred", "assumed")
"""How a claim about a file system is known, strongest first."""

READ: Final = Reader(ProfileError)
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
    `block_bytes` is the unit in which data reach the medium and can be torn.  `reference` is what
    `load_profile` was asked for: a name or a path, by which a trace finds the profile again.
    """

    name: str
    title: str
    block_bytes: int
    claims: tuple[Claim, ...]
    unknown: tuple[Claim, ...] = ()
    weaker_than: tuple[str, ...] = ()
    reference: str = ""

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
def _built_in(name: str) -> Profile:
    text = (resources.files("powercut") / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    return evolve(parse_profile(text, f"profiles/{name}.toml"), reference=name)


def load_profile(name: str) -> Profile:
    """A built-in profile by name, or one from a path that ends in `.toml`. ProfileError."""
    if name.endswith(".toml"):
        return evolve(_profile(READ.file(Path(name)), name), reference=name)
    if name not in profile_names():
        raise ProfileError(
            f"unknown profile {name!r}{hint(name, profile_names())}. "
            f"Known: {', '.join(profile_names())}, or a path to a .toml file. Nothing was run."
        )
    return _built_in(name)


def parse_profile(text: str, where: str) -> Profile:
    """The profile in `text`; `where` names the file in errors. ProfileError."""
    return _profile(READ.toml(text, where), where)


def _profile(raw: dict[str, Any], where: str) -> Profile:
    READ.keys(raw, {"schema", "name", "title", "weaker_than", "units", "rule", "unknown"}, where)
    READ.schema(raw, where)
    units = READ.typed(raw, "units", dict, where)
    READ.keys(units, {"block_bytes"}, f"{where}: [units]")
    profile = Profile(
        name=READ.typed(raw, "name", str, where),
        title=READ.typed(raw, "title", str, where),
        block_bytes=READ.count(units, "block_bytes", f"{where}: [units]", least=1),
        claims=tuple(_claims(raw, "rule", where)),
        unknown=tuple(_claims(raw, "unknown", where)),
        weaker_than=READ.strings(raw, "weaker_than", where),
    )
    ids = [claim.rule.id for claim in (*profile.claims, *profile.unknown)]
    twice = next((rule_id for rule_id in ids if ids.count(rule_id) > 1), None)
    if twice is not None:
        raise READ.fail(where, f"the rule {twice!r} is listed twice")
    return profile


def _claims(raw: dict[str, Any], key: str, where: str) -> Iterable[Claim]:
    """The claims of the [[rule]] or [[unknown]] tables, each checked."""
    for table in READ.optional(raw, key, list, [], where):
        here = f"{where}: [[{key}]]"
        READ.keys(table, {"id", "evidence", "source", "classes", "note", "measure"}, here)
        rule_id = READ.typed(table, "id", str, here)
        if rule_id not in RULES:
            raise READ.fail(
                here,
                f"no rule has the id {rule_id!r}{hint(rule_id, RULES)}. "
                f"Known: {', '.join(sorted(RULES))}",
            )
        here = f"{here} {rule_id}"
        classes = frozenset(READ.strings(table, "classes", here)) or _MACHINE_CLASSES
        if not classes <= _MACHINE_CLASSES or table.get("classes") == []:
            found = sorted(table["classes"])
            raise READ.fail(here, f"classes are {found}, expected kernel, power or both")
        yield Claim(
            RULES[rule_id],
            READ.one_of(table, "evidence", EVIDENCE, here),
            READ.typed(table, "source", str, here),
            classes,
            READ.optional(table, "note", str, "", here),
            READ.optional(table, "measure", str, "", here),
        )
