"""Profiles: which rules a file system follows, as data with sources and evidence.

A profile is a TOML file under profiles/ (or any path that ends in `.toml`).  Loading one checks
every word of it; an unknown rule, key or grade is an error that names the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from attrs import asdict, evolve, field, frozen

from powercut.errors import ProfileError
from powercut.rule import Kind, Rule
from powercut.rules import RULES
from powercut.strict_reader import StrictReader, hint, is_file_name, short

CRASH_CLASSES: Final = ("process", "kernel", "power")
"""A program dies; the kernel dies and the drive finishes its cache; the cache is lost too."""

EVIDENCE: Final = ("documented", "measured", "inferred", "assumed")
"""How a claim about a file system is known, strongest first."""

DOUBTS: Final = ("unknown", "disputed")
"""Why a rule is in doubt: nobody says, or those who do contradict each other."""

LIMIT_EVIDENCE: Final = ("measured", "inferred")
"""The evidence for a limit of a profile: a disk showed it, or the kernel's code was read."""

CARRIERS: Final = {"scope": ("commit", "log"), "atomic": ("both", "commit")}
"""What can carry what a scope rule covers; what an atomic rule binds. The default comes first."""

READ: Final = StrictReader(ProfileError)
_MACHINE_CLASSES: Final = frozenset({"kernel", "power"})


@frozen
class Claim:
    """One rule in one profile: for which crash classes, by what evidence, from what source.

    `carrier` says how what a scope rule covers lands, and whether an atomic rule binds the log as
    well; it is "" for other kinds.  `doubt` and `measure` belong to rules in doubt: why they are,
    and what would settle it.
    """

    rule: Rule
    evidence: str
    source: str
    classes: frozenset[str] = _MACHINE_CLASSES
    note: str = ""
    measure: str = ""
    carrier: str = field()
    doubt: str = ""

    @carrier.default
    def _first_carrier(self) -> str:
        known = CARRIERS.get(self.rule.kind, ())
        return known[0] if known else ""


@frozen
class Limit:
    """Programs or circumstances that a profile does not speak of, and what was seen there.

    `refutes` says that an ordinary program meets it and loses what a sync had kept, or the volume:
    no set that was held against disks has such a profile.
    """

    what: str
    source: str
    evidence: str
    refutes: bool = False

    def to_json(self) -> dict[str, Any]:
        """The limit as the commands print it."""
        return asdict(self)


def limits_in_words(limits: Sequence[Limit]) -> str:
    """One line to stand beside a tree that a profile does not allow; "" where it has no limit."""
    said = " ".join(limit.what for limit in limits)
    return f"the profile declares limits: {said}" if said else ""


@frozen
class Profile:
    """What a file system leaves after a crash: rules relied on, and rules in doubt.

    `unknown` rules are not relied on; a property that holds only with them is `unknown`.  `quiet`
    rules hold as long as the kernel commits nothing of its own accord: published tests are judged
    with them, protocols never.  `block_bytes` is what space is allocated in and sizes can be cut
    at, `sector_bytes` what the drive writes whole.  `published` are the names that others give the
    same file system.  `limits` are what no crash state of the model has and a disk was seen to do:
    no verdict speaks of them.  `reference` is what `load_profile` was asked for: a name or a path,
    by which a trace finds the profile again.
    """

    name: str
    title: str
    block_bytes: int
    claims: tuple[Claim, ...]
    unknown: tuple[Claim, ...] = ()
    quiet: tuple[Claim, ...] = ()
    weaker_than: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    sector_bytes: int = 512
    limits: tuple[Limit, ...] = ()
    reference: str = ""

    def of_kind(self, kind: Kind, crash_class: str) -> tuple[Claim, ...]:
        """The claims of one kind that hold for a crash class, in the profile's order."""
        return tuple(c for c in self.claims if c.rule.kind == kind and crash_class in c.classes)

    def rules(self, kind: Kind, crash_class: str) -> tuple[Rule, ...]:
        """The rules of one kind that hold for a crash class, in the profile's order."""
        return tuple(claim.rule for claim in self.of_kind(kind, crash_class))

    def has(self, rule_id: str) -> bool:
        """The profile relies on that rule."""
        return any(c.rule.id == rule_id for c in self.claims)

    @property
    def tears_names(self) -> bool:
        """A log may bring one half of a rename: some atomic rule binds the commit alone."""
        return any(c.rule.kind == "atomic" and c.carrier == "commit" for c in self.claims)

    @property
    def is_refuted(self) -> bool:
        """A disk was seen to break it where ordinary programs come."""
        return any(limit.refutes for limit in self.limits)

    def without(self, rule_id: str) -> Profile:
        """The same profile without one rule: a mutant, for tests and explanations."""
        return evolve(self, claims=tuple(c for c in self.claims if c.rule.id != rule_id))

    def with_unknown(self) -> Profile:
        """The profile as it would be if every rule in doubt held."""
        return evolve(self, claims=(*self.claims, *self.unknown), unknown=())

    def when_quiet(self) -> Profile:
        """The profile as long as the kernel commits nothing of its own accord."""
        return evolve(self, claims=(*self.claims, *self.quiet), quiet=())


@frozen
class ProfileSet:
    """Profiles that are asked together; the weakest of their answers is the set's.

    `disks` maps the name of each member to the disk of the rig that was held against it,
    `left_out` each other built-in profile to the reason.
    """

    name: str
    title: str
    disks: Mapping[str, str]
    left_out: Mapping[str, str]

    @property
    def members(self) -> tuple[Profile, ...]:
        """The profiles of the set, in its order."""
        return tuple(load_profile(name) for name in self.disks)


def profile_names() -> list[str]:
    """The names of the built-in profiles, sorted."""
    return _toml_names("profiles")


def set_names() -> list[str]:
    """The names of the sets of profiles, sorted."""
    return _toml_names("profiles", "sets")


def _toml_names(*folder: str) -> list[str]:
    files = resources.files("powercut").joinpath(*folder).iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


@cache
def _built_in(name: str) -> Profile:
    text = (resources.files("powercut") / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    return evolve(parse_profile(text, f"profiles/{name}.toml"), reference=name)


def load_profile(name: str) -> Profile:
    """A built-in profile by name, or one from a path that ends in `.toml`.

    ProfileError, also where it is the name of a set.
    """
    if name.endswith(".toml"):
        return evolve(_profile(READ.file(Path(name)), name), reference=name)
    if name in set_names():
        raise ProfileError(
            f"{name!r} is a set of profiles, and one profile is expected here: "
            f"{', '.join(load_set(name).disks)}. `powercut check` and `powercut profiles` take a "
            "set. Nothing was run."
        )
    if name not in profile_names():
        raise ProfileError(
            f"unknown profile {name!r}{hint(name, [*profile_names(), *set_names()])}. "
            f"Known: {', '.join(profile_names())}, or a path to a .toml file. Nothing was run."
        )
    return _built_in(name)


def load_set(name: str) -> ProfileSet:
    """The set of profiles of that name. ProfileError."""
    where = f"profiles/sets/{name}.toml"
    if name not in set_names():
        raise ProfileError(f"unknown set {name!r}. Known: {', '.join(set_names())}.")
    text = resources.files("powercut").joinpath("profiles", "sets", f"{name}.toml")
    raw = READ.toml(text.read_text(encoding="utf-8"), where)
    READ.keys(raw, {"schema", "name", "title", "member", "left_out"}, where)
    READ.schema(raw, where)
    return ProfileSet(
        READ.typed(raw, "name", str, where),
        READ.typed(raw, "title", str, where),
        _by_profile(raw, "member", "disk", where),
        _by_profile(raw, "left_out", "reason", where),
    )


def _by_profile(raw: dict[str, Any], key: str, says: str, where: str) -> dict[str, str]:
    """The text of each [[member]] or [[left_out]] table of a set, by profile."""
    said: dict[str, str] = {}
    for table in READ.typed(raw, key, list, where):
        here = f"{where}: [[{key}]]"
        READ.keys(table, {"profile", says}, here)
        name = READ.one_of(table, "profile", profile_names(), here)
        said[name] = READ.typed(table, says, str, here)
    return said


def profiles_in(folder: Path) -> tuple[Profile, ...]:
    """The profiles of a folder, by file name; none where there is no such folder.

    ProfileError where one cannot be read, or has the name of another profile.
    """
    paths = (path for path in sorted(folder.glob("*.toml")) if not path.name.startswith("."))
    found = tuple(load_profile(str(path)) for path in paths)
    taken = set(profile_names())
    for profile in found:
        if profile.name in taken:
            raise ProfileError(
                f"{profile.reference}: another profile has the name {profile.name!r} already; "
                "expected another name. Nothing was run."
            )
        taken.add(profile.name)
    return found


def profile_named(name: str) -> Profile:
    """The profile of that name; with "+RULE" behind it, it has that rule as well, to be refuted.

    ProfileError where there is no such profile or rule, or where the rule takes no state away.
    """
    base, *added = name.split("+")
    profile = load_profile(base)
    for rule_id in added:
        claim = Claim(_refutable(rule_id), "assumed", "a trial")
        kept = tuple(each for each in profile.unknown if each.rule.id != rule_id)
        profile = evolve(profile.without(rule_id), claims=(*profile.claims, claim), unknown=kept)
    return evolve(profile, name=name)


def _refutable(rule_id: str) -> Rule:
    """The rule of that id, which some tree could contradict. ProfileError."""
    if rule_id not in RULES:
        raise ProfileError(
            f"unknown rule {rule_id!r}{hint(rule_id, RULES)}. Known: {', '.join(RULES)}. "
            "Nothing was run."
        )
    rule = RULES[rule_id]
    if rule.permits:
        raise ProfileError(
            f"{rule_id} is a permission: it adds crash states and forbids none, so no tree can "
            "refute it. Behind a '+' a rule is expected that takes states away. Nothing was run."
        )
    return rule


def parse_profile(text: str, where: str) -> Profile:
    """The profile in `text`; `where` names the file in errors. ProfileError."""
    return _profile(READ.toml(text, where), where)


def _profile(raw: dict[str, Any], where: str) -> Profile:
    known = {"schema", "name", "title", "weaker_than", "published", "units", "limit"}
    READ.keys(raw, known | {"rule", "unknown", "quiet"}, where)
    READ.schema(raw, where)
    units = READ.typed(raw, "units", dict, where)
    READ.keys(units, {"block_bytes", "sector_bytes"}, f"{where}: [units]")
    profile = Profile(
        name=READ.typed(raw, "name", str, where),
        title=READ.typed(raw, "title", str, where),
        block_bytes=READ.count(units, "block_bytes", f"{where}: [units]", least=1),
        sector_bytes=READ.count(units, "sector_bytes", f"{where}: [units]", least=1),
        claims=tuple(_claims(raw, "rule", where)),
        unknown=tuple(_claims(raw, "unknown", where)),
        quiet=tuple(_claims(raw, "quiet", where)),
        weaker_than=READ.strings(raw, "weaker_than", where),
        published=READ.strings(raw, "published", where),
        limits=tuple(_limits(raw, where)),
    )
    if not is_file_name(profile.name):
        raise READ.fail(where, f"the name is {short(profile.name)}, expected one without '/'")
    if profile.block_bytes % profile.sector_bytes:
        raise READ.fail(where, "block_bytes is not a multiple of sector_bytes")
    ids = [claim.rule.id for claim in (*profile.claims, *profile.unknown, *profile.quiet)]
    twice = next((rule_id for rule_id in ids if ids.count(rule_id) > 1), None)
    if twice is not None:
        raise READ.fail(where, f"the rule {twice!r} is listed twice")
    return profile


def _limits(raw: dict[str, Any], where: str) -> Iterable[Limit]:
    """The [[limit]] tables, each checked."""
    here = f"{where}: [[limit]]"
    for table in READ.optional(raw, "limit", list, [], where):
        READ.keys(table, {"what", "source", "evidence", "refutes"}, here)
        what = READ.typed(table, "what", str, here).strip()
        if not what.endswith("."):
            raise READ.fail(here, f"what is {short(what)}, expected whole sentences")
        yield Limit(
            what,
            READ.typed(table, "source", str, here),
            READ.one_of(table, "evidence", LIMIT_EVIDENCE, here),
            READ.optional(table, "refutes", bool, False, here),
        )


def _claims(raw: dict[str, Any], key: str, where: str) -> Iterable[Claim]:
    """The claims of the [[rule]], [[unknown]] or [[quiet]] tables, each checked."""
    for table in READ.optional(raw, key, list, [], where):
        here = f"{where}: [[{key}]]"
        known = {"id", "evidence", "source", "classes", "note", "carrier"}
        READ.keys(table, known | ({"measure", "doubt"} if key == "unknown" else set()), here)
        rule_id = READ.typed(table, "id", str, here)
        if rule_id not in RULES:
            raise READ.fail(
                here,
                f"no rule has the id {rule_id!r}{hint(rule_id, RULES)}. "
                f"Known: {', '.join(sorted(RULES))}",
            )
        rule = RULES[rule_id]
        here = f"{here} {rule_id}"
        classes = frozenset(READ.strings(table, "classes", here)) or _MACHINE_CLASSES
        if not classes <= _MACHINE_CLASSES or table.get("classes") == []:
            found = sorted(table["classes"])
            raise READ.fail(here, f"classes are {found}, expected kernel, power or both")
        yield Claim(
            rule,
            READ.one_of(table, "evidence", EVIDENCE, here),
            READ.typed(table, "source", str, here),
            classes,
            READ.optional(table, "note", str, "", here),
            READ.typed(table, "measure", str, here) if key == "unknown" else "",
            _carrier(table, rule, here),
            READ.one_of(table, "doubt", DOUBTS, here) if key == "unknown" else "",
        )


def _carrier(table: dict[str, Any], rule: Rule, here: str) -> str:
    """What carries a claim; the default of its kind where the profile does not say."""
    known = CARRIERS.get(rule.kind, ())
    if "carrier" not in table:
        return Claim(rule, "", "").carrier
    if not known:
        raise READ.fail(here, f"a rule of the kind {rule.kind} has no carrier")
    return READ.one_of(table, "carrier", known, here)
