"""Profiles: every word of one is checked, and the error names the file and what is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from powercut.cli.catalog import source_entries
from powercut.errors import ProfileError
from powercut.profile import (
    EVIDENCE,
    Limit,
    load_profile,
    parse_profile,
    profile_named,
    profile_names,
)
from powercut.rules import RULES
from tests.harness.profiles import PROFILES

HEAD = 'schema = 1\nname = "mine"\ntitle = "a disk of mine"\n'
UNITS = "[units]\nblock_bytes = 512\nsector_bytes = 1\n"
RULE = '[[rule]]\nid = "fsync-data"\nsource = "posix.fsync"\nevidence = "documented"\n'
GOOD = HEAD + UNITS + RULE
LIMIT = '[[limit]]\nwhat = "A disk was seen to."\nsource = "s"\nevidence = "measured"\n'


def test_the_profile_that_is_made_worse_below_is_well_formed() -> None:
    profile = parse_profile(GOOD, "p.toml")

    assert (profile.name, profile.block_bytes, profile.unknown) == ("mine", 512, ())
    assert [claim.rule.id for claim in profile.claims] == ["fsync-data"]
    assert profile.claims[0].classes == {"kernel", "power"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"fsync-data"', '"fsync-dato"', "p.toml: [[rule]]: no rule has the id 'fsync-dato' (did"),
        ('"fsync-data"', '"zzz"', "p.toml: [[rule]]: no rule has the id 'zzz'. Known: all-in-"),
        ('"fsync-data"', "5", "p.toml: [[rule]]: id is 5, expected str"),
        ('id = "fsync-data"\n', "", "p.toml: [[rule]]: the key 'id' is missing"),
        ("evidence =", "evidense =", "p.toml: [[rule]]: unknown key 'evidense' (did you mean 'evi"),
        ('"documented"', '"hoped"', "p.toml: [[rule]] fsync-data: evidence is 'hoped', expected "),
        (
            'source = "posix.fsync"\n',
            "",
            "p.toml: [[rule]] fsync-data: the key 'source' is missing",
        ),
        ("[[rule]]", "[rule]", "p.toml: rule is {'id': "),
        ("[[rule]]", "[[unknown]]\nx = 1", "p.toml: [[unknown]]: unknown key 'x'"),
        ("[[rule]]", "[[rules]]", "p.toml: unknown key 'rules' (did you mean 'rule'?)"),
        ("schema = 1", "schema = 2", "p.toml: schema is 2, expected 1"),
        ("schema = 1\n", "", "p.toml: schema is None, expected 1"),
        ('name = "mine"\n', "", "p.toml: the key 'name' is missing"),
        ('"a disk of mine"', "7", "p.toml: title is 7, expected str"),
        ("512", "0", "p.toml: [units]: block_bytes is 0, expected 1 or more"),
        ("512", "-1", "p.toml: [units]: block_bytes is -1, expected 1 or more"),
        ("512", '"4k"', "p.toml: [units]: block_bytes is '4k', expected int"),
        ("512", "true", "p.toml: [units]: block_bytes is True, expected int"),
        ("512", "4096\nsector = 1", "p.toml: [units]: unknown key 'sector'"),
        (
            "sector_bytes = 1",
            "sector_bytes = 3",
            "p.toml: block_bytes is not a multiple of sector_",
        ),
        (UNITS, "", "p.toml: the key 'units' is missing"),
        (UNITS, "units = 3\n", "p.toml: units is 3, expected dict"),
        ("schema = 1", "schema", "p.toml: not TOML: "),
    ],
    ids=range(23),
)
def test_a_malformed_profile_gives_one_error_that_names_the_file(
    old: str, new: str, message: str
) -> None:
    assert old in GOOD

    with pytest.raises(ProfileError) as caught:
        parse_profile(GOOD.replace(old, new), "p.toml")

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("classes", ['["process"]', '["power", "earthquake"]', "[]", '"power"'])
def test_a_claim_about_another_crash_class_is_refused(classes: str) -> None:
    with pytest.raises(ProfileError, match=r"^p\.toml: \[\[rule\]\] fsync-data: classes (is|are) "):
        parse_profile(f"{GOOD}classes = {classes}\n", "p.toml")


@pytest.mark.parametrize(
    "text",
    [
        f"{GOOD}classes = 5\n",
        f'{GOOD}classes = [["power"]]\n',
        f'{GOOD}classes = [1, "power"]\n',
        f"{GOOD}note = 3\n",
        f"weaker_than = 3\n{GOOD}",
        f'weaker_than = "abc"\n{GOOD}',
        GOOD + RULE,
        GOOD + RULE.replace("[[rule]]", "[[unknown]]"),
        GOOD.replace("schema = 1", "schema = true"),
        GOOD.replace("512", "9" * 5000),
        f"x = {'[' * 5000}{']' * 5000}\n{GOOD}",
    ],
    ids=range(11),
)
def test_a_value_of_the_wrong_sort_or_a_rule_that_is_listed_twice_is_refused(text: str) -> None:
    with pytest.raises(ProfileError, match=r"^p\.toml: "):
        parse_profile(text, "p.toml")


def test_a_claim_may_be_about_one_class_alone() -> None:
    profile = parse_profile(f'{GOOD}classes = ["kernel"]\n', "p.toml")

    assert [rule.id for rule in profile.rules("scope", "kernel")] == ["fsync-data"]
    assert profile.rules("scope", "power") == ()


@pytest.mark.parametrize(
    ("name", "hint"), [("ext4-orderd", " (did you mean 'ext4-ordered'?)"), ("?", "")]
)
def test_an_unknown_name_is_refused_with_the_names_that_there_are(name: str, hint: str) -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile(name)

    known = ", ".join(profile_names())
    assert str(caught.value) == (
        f"unknown profile {name!r}{hint}. Known: {known}, or a path to a .toml file. "
        "Nothing was run."
    )


def test_a_profile_can_be_a_file_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)

    expected = evolve(parse_profile(GOOD, str(path)), reference=str(path))

    assert load_profile(str(path)) == expected


def test_a_profile_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    with pytest.raises(ProfileError, match=r"mine\.toml: cannot be read: .*Nothing was run\.$"):
        load_profile(str(path))

    path.write_bytes(b"\xff")
    with pytest.raises(ProfileError, match=r"mine\.toml: cannot be read: .*Nothing was run\.$"):
        load_profile(str(path))


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_called_as_its_file_and_names_profiles_that_there_are(
    name: str,
) -> None:
    profile = PROFILES[name]

    assert Path(profile.reference).stem == profile.name == name
    assert set(profile.weaker_than) <= set(PROFILES) - {name}
    ids = [claim.rule.id for claim in (*profile.claims, *profile.unknown, *profile.quiet)]
    assert len(set(ids)) == len(ids)


def test_every_grade_of_evidence_and_every_rule_is_used() -> None:
    claims = [c for p in PROFILES.values() for c in (*p.claims, *p.unknown, *p.quiet)]

    assert {claim.evidence for claim in claims} == set(EVIDENCE)
    assert {claim.rule.id for claim in claims} == set(RULES)


def test_without_and_with_unknown_change_one_thing_each() -> None:
    profile = parse_profile(
        GOOD
        + RULE.replace('[[rule]]\nid = "fsync-data"', '[[unknown]]\nid = "sync-all"')
        + 'doubt = "unknown"\nmeasure = "look"\n'
        + RULE.replace('[[rule]]\nid = "fsync-data"', '[[quiet]]\nid = "fsync-directory"'),
        "p.toml",
    )

    assert profile.without("fsync-data").claims == ()
    assert profile.with_unknown().has("sync-all")
    assert not profile.has("sync-all")
    assert profile.with_unknown().unknown == ()
    assert profile.when_quiet().has("fsync-directory")
    assert not profile.has("fsync-directory")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('carrier = "pigeon"', "carrier is 'pigeon', expected one of commit, log"),
        ("carrier = 3", "carrier is 3"),
    ],
)
def test_a_claim_names_a_carrier_that_its_kind_has(line: str, message: str) -> None:
    with pytest.raises(ProfileError, match=r"^p\.toml: \[\[rule\]\] fsync-data: ") as caught:
        parse_profile(f"{GOOD}{line}\n", "p.toml")

    assert message in str(caught.value)


def test_an_order_rule_has_no_carrier() -> None:
    text = GOOD.replace("fsync-data", "directory-in-order") + 'carrier = "log"\n'

    with pytest.raises(ProfileError, match="a rule of the kind order has no carrier"):
        parse_profile(text, "p.toml")


@pytest.mark.parametrize("missing", ["doubt", "measure"])
def test_a_rule_in_doubt_says_why_and_what_would_settle_it(missing: str) -> None:
    lines = {"doubt": 'doubt = "unknown"', "measure": 'measure = "look"'}
    del lines[missing]
    text = GOOD.replace("[[rule]]", "[[unknown]]") + "\n".join(lines.values()) + "\n"

    with pytest.raises(ProfileError, match=f"the key '{missing}' is missing"):
        parse_profile(text, "p.toml")


def test_a_rule_can_be_added_behind_a_plus_and_is_then_relied_on() -> None:
    own, trial = load_profile("apfs"), profile_named("apfs+fsync-directory")

    assert trial.name == "apfs+fsync-directory"
    assert (own.has("fsync-directory"), trial.has("fsync-directory")) == (False, True)
    assert {c.rule.id for c in own.unknown} - {c.rule.id for c in trial.unknown} == {
        "fsync-directory"
    }
    assert profile_named("xfs") == load_profile("xfs")


def test_a_limit_is_read_whole_and_a_profile_with_a_rule_more_has_it_too(tmp_path: Path) -> None:
    mine = parse_profile(GOOD + LIMIT + LIMIT + "refutes = true\n", "p.toml")
    (tmp_path / "mine.toml").write_text(GOOD + LIMIT)

    assert mine.limits == (
        Limit("A disk was seen to.", "s", "measured"),
        Limit("A disk was seen to.", "s", "measured", refutes=True),
    )
    assert mine.is_refuted
    assert (mine.without("fsync-data").limits, mine.with_unknown().limits) == (mine.limits,) * 2
    assert profile_named("xfs+data-before-its-size").limits == load_profile("xfs").limits != ()
    assert not load_profile(str(tmp_path / "mine.toml")).is_refuted
    assert load_profile("sequential").limits == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('what = "A disk was seen to."\n', "", "the key 'what' is missing"),
        ("seen to.", "seen to", "what is 'A disk was seen to', expected whole sentences"),
        ('"A disk was seen to."', '""', "what is '', expected whole sentences"),
        ('"A disk was seen to."', "3", "what is 3, expected str"),
        ('source = "s"\n', "", "the key 'source' is missing"),
        ('"measured"', '"assumed"', "evidence is 'assumed', expected one of measured, inferred"),
        ('source = "s"', 'sauce = "s"', "unknown key 'sauce' (did you mean 'source'?)"),
        ('source = "s"', 'source = "s"\nrefutes = 1', "refutes is 1, expected bool"),
        ("[[limit]]", "[limit]", "limit is {"),
        ("[[limit]]", "[[limits]]", "unknown key 'limits' (did you mean 'limit'?)"),
    ],
    ids=range(10),
)
def test_a_malformed_limit_is_named(old: str, new: str, message: str) -> None:
    with pytest.raises(ProfileError, match=r"^p\.toml: ") as caught:
        parse_profile(GOOD + LIMIT.replace(old, new), "p.toml")

    assert message in str(caught.value)


@pytest.mark.parametrize("name", PROFILES)
def test_the_source_of_each_limit_is_an_entry_that_names_a_kernel(name: str) -> None:
    entries = source_entries()

    for limit in PROFILES[name].limits:
        assert "6.18" in entries[limit.source]


@pytest.mark.parametrize("name", ["ext4-ordered+no-such-rule", "no-such-profile+rename-atomic"])
def test_a_profile_with_a_rule_more_needs_both_to_be_there(name: str) -> None:
    with pytest.raises(ProfileError, match="no-such"):
        profile_named(name)


@pytest.mark.parametrize("rule", [rule.id for rule in RULES.values() if rule.permits])
def test_a_permission_behind_a_plus_is_refused_since_no_tree_can_refute_it(rule: str) -> None:
    with pytest.raises(ProfileError, match=f"{rule} is a permission: it adds crash states"):
        profile_named(f"xfs+{rule}")
