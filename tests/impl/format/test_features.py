"""What is not known is not judged, and what is broken stays broken."""

from __future__ import annotations

import hashlib
import pickle

import pytest

from lastgood import LastgoodError, NewerFormatError
from lastgood.format import features
from lastgood.format.chunks import Chunking
from lastgood.format.digests import HEX_DIGITS
from lastgood.format.features import UnknownFeatureError, is_newer_format, require_judged
from lastgood.format.manifest import Manifest, ManifestError, Part, decode, encode
from tests.impl.format.newer_manifests import NEWER, sealed, with_json, with_number

SHA = hashlib.sha256(b"x").hexdigest()
MANIFEST = encode(Manifest(7, 42, "id1", (Part("model", 1, SHA), Part("b", 1, SHA))))
CHUNKED = encode(
    Manifest(
        7, 42, "id1", (Part("model", 9, SHA, "memory", SHA * 3),), chunking=Chunking(4, "sha256")
    )
)


def reason_for(data: bytes) -> str:
    with pytest.raises(LastgoodError) as caught:
        decode(data)
    assert isinstance(caught.value, ManifestError | UnknownFeatureError)
    assert str(caught.value).isprintable()
    return caught.value.reason


@pytest.mark.parametrize("needs", NEWER)
@pytest.mark.parametrize("manifest", [MANIFEST, CHUNKED])
def test_an_intact_manifest_with_something_unknown_is_not_judged(
    manifest: bytes, needs: str
) -> None:
    assert reason_for(NEWER[needs](manifest)) == f"newer_format:{needs}"


@pytest.mark.parametrize("needs", NEWER)
def test_a_broken_seal_is_damage_whatever_else_is_in_the_manifest(needs: str) -> None:
    data = NEWER[needs](MANIFEST)

    for length in range(len(data)):
        assert reason_for(data[:length]).startswith("manifest_error:")
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1
        with pytest.raises(ManifestError):
            decode(bytes(flipped))


@pytest.mark.parametrize("number", ["0", "01", "1 ", "1.1", "-1", "", "two", "9" * 99, "\x1b[31m"])
def test_every_other_number_is_unknown_as_well(number: str) -> None:
    assert reason_for(with_number(MANIFEST, number)).startswith("newer_format:format ")


def test_who_does_not_know_all_of_it_judges_none_of_it() -> None:
    """A path that leaves the group is damage, but not where an unknown key may explain it."""
    unsafe = with_json(MANIFEST, lambda head: head["parts"][0].update(path="../x"))
    unknown = with_json(unsafe, lambda head: head.update(zip=1))

    assert reason_for(unsafe).startswith("unsafe_path:")
    assert reason_for(unknown) == "newer_format:the key 'zip'"
    assert reason_for(sealed(b"# lastgood manifest 2\n")) == "newer_format:format 2"


def test_a_digest_of_chunks_that_nobody_knows_is_unknown() -> None:
    data = with_json(CHUNKED, lambda head: head.update(chunk_digest="sha3"))

    assert reason_for(data) == "newer_format:the digest 'sha3'"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("digest", 5, "manifest_error:value"),
        ("digest", ["sha3"], "manifest_error:value"),
        ("digest", "sha256", "manifest_error:form"),
        ("chunk_digest", None, "manifest_error:chunks"),
        ("parts", {"zip": 1}, "manifest_error:keys"),
        ("parts", ["zip"], "manifest_error:parts"),
        ("step", "zip", "manifest_error:value"),
    ],
)
def test_a_wrong_value_of_a_known_key_is_damage(key: str, value: object, reason: str) -> None:
    assert reason_for(with_json(MANIFEST, lambda head: head.update({key: value}))) == reason


def test_of_many_needs_the_first_are_named() -> None:
    long = "k" * 500
    many = {f"key{n}": 1 for n in range(9)} | {long: 1, "\x1b[2J": 1}
    reason = reason_for(with_json(MANIFEST, lambda head: head.update(many)))

    assert reason == (
        "newer_format:the key '\\x1b[2J', the key 'key0', the key 'key1', the key 'key2', 7 more"
    )
    assert long not in reason_for(with_json(MANIFEST, lambda head: head.update({long: 1})))


def test_the_error_names_the_group_and_what_is_needed() -> None:
    for reason in ("sha_mismatch:x", "no_commit", "newer_formats:x", "gone"):
        require_judged("gen", reason)
        assert not is_newer_format(reason)
    with pytest.raises(NewerFormatError) as caught:
        require_judged("gen-00000002-step-00000020", "newer_format:format 2")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301

    for error in (caught.value, again):
        assert (error.group, error.needs) == ("gen-00000002-step-00000020", "format 2")
        assert "gen-00000002-step-00000020" in str(error)
        assert "needs format 2" in str(error)
        assert "no damage" in str(error)
        assert error.exit_status == 3


def test_what_format_1_has_is_settled() -> None:
    """Who adds anything to these raises FORMAT: a reader of today does not know it."""
    assert features.FORMAT == 1
    assert features.VERSION_LINE == "# lastgood manifest 1"
    assert {"attempt", "generation", "metadata", "parts", "step", "world_size"} == features.KEYS
    assert {"chunk_bytes", "chunk_digest", "digest", "saved_at_s"} == features.MORE_KEYS
    assert {
        "chunks",
        "digest_from",
        "path",
        "size_bytes",
    } == features.PART_KEYS | features.MORE_PART_KEYS
    assert features.ORIGINS == ("memory", "file")
    assert set(HEX_DIGITS) == {"sha256", "blake3", "xxh3"}
    for manifest in (MANIFEST, CHUNKED):
        assert manifest.startswith(b"# lastgood manifest 1\n")
