"""The command `profiles`, which shows what the model knows: file systems, rules, sources."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import click
from rich.console import Console
from rich.markup import escape

from powercut.cli.console import EXIT_STATUS, as_json, bad_input, emit, table_of
from powercut.errors import ProfileError
from powercut.profile import (
    Claim,
    Profile,
    ProfileSet,
    load_profile,
    load_set,
    profile_names,
    set_names,
)
from powercut.rules import RULES
from powercut.strict_reader import hint

_STANDINGS: Final = (("", "claims"), ("in doubt: ", "unknown"), ("while quiet: ", "quiet"))


@click.command(epilog=EXIT_STATUS)
@click.argument("name", required=False)
@click.option("--rule", "rule_id", metavar="ID", help="One rule in full, with its sources.")
@as_json
def profiles(name: str | None, rule_id: str | None, as_json: bool) -> None:
    """List the profiles and sets of them; with NAME, its rules with their sources and evidence.

    Where NAME is a set: its profiles, and those that are left out, with the reason.
    With --rule, the rule as rules.py has it, the evidence that each profile has for it, and what
    its sources say.
    """
    with bad_input():
        group = load_set(name) if name in set_names() else None
        names = profile_names() if name is None else [name] if group is None else group.disks
        chosen = [load_profile(each) for each in names]
        if rule_id is not None and rule_id not in RULES:
            known = ", ".join(RULES)
            raise ProfileError(f"unknown rule {rule_id!r}{hint(rule_id, RULES)}. Known: {known}")
    if rule_id is not None:
        emit(_rule_json(rule_id, chosen)) if as_json else _show_rule(rule_id, chosen)
    elif as_json:
        sets = [group] if group is not None else [] if name else list(map(load_set, set_names()))
        said = {"profiles": [_profile_json(profile) for profile in chosen]}
        emit({**said, "sets": [_set_json(each) for each in sets]})
    elif group is not None:
        _show_set(group)
    elif name:
        _show_profile(chosen[0])
    else:
        table = table_of("profile", "stands for", "rules", "in doubt")
        for profile in chosen:
            counts = str(len(profile.claims)), str(len(profile.unknown))
            table.add_row(profile.name, profile.title, *counts)
        below = table_of("set", "stands for", "profiles")
        for each in map(load_set, set_names()):
            below.add_row(each.name, each.title, ", ".join(each.disks))
        Console().print(table, below)


def _claim_json(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.rule.id,
        "kind": claim.rule.kind,
        "claim": claim.rule.claim,
        "evidence": claim.evidence,
        "source": claim.source,
        "classes": sorted(claim.classes),
        "carrier": claim.carrier,
        "litmus": list(claim.rule.litmus),
        "errs": claim.rule.errs,
        "note": claim.note,
        "doubt": claim.doubt,
        "measure": claim.measure or claim.rule.measure,
    }


def _profile_json(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "title": profile.title,
        "block_bytes": profile.block_bytes,
        "sector_bytes": profile.sector_bytes,
        "weaker_than": list(profile.weaker_than),
        "published": list(profile.published),
        "limits": [limit.to_json() for limit in profile.limits],
        "rules": [_claim_json(claim) for claim in profile.claims],
        "unknown": [_claim_json(claim) for claim in profile.unknown],
        "quiet": [_claim_json(claim) for claim in profile.quiet],
    }


def _set_json(group: ProfileSet) -> dict[str, Any]:
    return {
        "name": group.name,
        "title": group.title,
        "members": [{"profile": name, "disk": disk} for name, disk in group.disks.items()],
        "left_out": [{"profile": name, "reason": why} for name, why in group.left_out.items()],
    }


def _show_set(group: ProfileSet) -> None:
    members = table_of("profile", "stands for", "held against", title=escape(group.title))
    for profile in group.members:
        members.add_row(
            profile.name, profile.title, f"powercut soak --fs {group.disks[profile.name]}"
        )
    left_out = table_of("left out", "reason")
    for name, why in group.left_out.items():
        left_out.add_row(name, why)
    Console().print(members, left_out)


def _show_profile(profile: Profile) -> None:
    headings = ("kind", "rule", "holds for", "claim", "evidence", "source", "litmus")
    table = table_of(*headings, title=f"{profile.name}: {profile.title}")
    for standing, which in _STANDINGS:
        for claim in getattr(profile, which):
            rule = claim.rule
            litmus = ", ".join(rule.litmus)
            named = (rule.kind, standing + rule.id, " and ".join(sorted(claim.classes)))
            table.add_row(*named, rule.claim, claim.evidence, claim.source, litmus)
    console = Console()
    console.print(table)
    for claim in profile.unknown:
        text = f"{claim.rule.id} is {claim.doubt}; what would settle it: {claim.measure}."
        console.print(text, markup=False, highlight=False)
    for limit in profile.limits:
        text = f"Outside of the model: {limit.what} ({limit.evidence}: {limit.source})"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print("One rule in full: powercut profiles --rule ID", markup=False, highlight=False)


def source_entries() -> dict[str, str]:
    """The entries of sources.md by their labels."""
    text = (resources.files("powercut") / "sources.md").read_text(encoding="utf-8")
    entries = {}
    for entry in text.split("\n### ")[1:]:
        label, _, body = entry.partition("\n")
        entries[label.strip()] = body.partition("\n## ")[0].strip()
    return entries


def _claims_of(rule_id: str, chosen: Sequence[Profile]) -> list[tuple[Profile, str, Claim]]:
    return [
        (profile, standing, claim)
        for profile in chosen
        for standing, which in _STANDINGS
        for claim in getattr(profile, which)
        if claim.rule.id == rule_id
    ]


def _rule_json(rule_id: str, chosen: Sequence[Profile]) -> dict[str, Any]:
    claims = _claims_of(rule_id, chosen)
    labels = dict.fromkeys([*RULES[rule_id].source, *(claim.source for _, _, claim in claims)])
    entries = source_entries()
    return {
        "rule": rule_id,
        "text": inspect.getsource(RULES[rule_id].holds),
        "claims": [
            {"profile": profile.name, "standing": standing.rstrip(": "), **_claim_json(claim)}
            for profile, standing, claim in claims
        ],
        "sources": {label: entries.get(label, "") for label in labels},
    }


def _show_rule(rule_id: str, chosen: Sequence[Profile]) -> None:
    found = _rule_json(rule_id, chosen)
    click.echo(found["text"])
    table = table_of("profile", "holds for", "evidence", "source", "note")
    for profile, standing, claim in _claims_of(rule_id, chosen):
        holds_for = " and ".join(sorted(claim.classes))
        told = (standing + claim.evidence, claim.source, escape(claim.note))
        table.add_row(profile.name, holds_for, *told)
    Console().print(table)
    for label, entry in found["sources"].items():
        click.echo(f"\n{label}\n{entry}")
