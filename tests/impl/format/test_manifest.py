from __future__ import annotations

import hashlib
import itertools
import json
import posixpath
import random
import subprocess
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from lastgood.format.chunks import DIGESTS_LIMIT_BYTES, Chunking
from lastgood.format.digests import HEX_DIGITS
from lastgood.format.manifest import (
    MAX_SIZE_BYTES,
    Manifest,
    ManifestError,
    Part,
    decode,
    encode,
    find_clash,
    is_safe_part_path,
)
from tests.impl.disks import PARTS, open_store

SHA = hashlib.sha256(b"x").hexdigest()
MANIFEST = Manifest(
    7, 42, "id1", (Part("model", 1, SHA), Part("sub/ä b", 1, SHA, "file")), 1, {"lr": 0.1}
)
CHUNKED = Manifest(
    7,
    42,
    "id1",
    (Part("model", 9, SHA, "memory", SHA * 3), Part("small", 4, SHA)),
    chunking=Chunking(4, "sha256"),
)


def sealed(body: bytes) -> bytes:
    return body + f"# sha256 {hashlib.sha256(body).hexdigest()}\n".encode()


def forged(manifest: Manifest = MANIFEST, **changes: object) -> bytes:
    """A manifest whose seal is right and whose JSON line was changed."""
    lines = encode(manifest).split(b"\n")
    head = json.loads(lines[1][2:]) | changes
    head = {key: value for key, value in head.items() if value is not ...}
    text = json.dumps(head, sort_keys=True, separators=(",", ":"))
    return sealed(b"\n".join([lines[0], b"# " + text.encode(), *lines[2:4], b""]))


def chunked(size_bytes: int = 9, **changes: object) -> bytes:
    """A forged manifest whose first part has that size and those chunks."""
    first = {"digest_from": "memory", "path": "model", "size_bytes": size_bytes, **changes}
    small = {"digest_from": "memory", "path": "small", "size_bytes": 4}
    return forged(CHUNKED, parts=[first, small])


def reason_for(data: bytes) -> str:
    with pytest.raises(ManifestError) as caught:
        decode(data)
    return caught.value.reason


def test_decoding_gives_back_what_was_encoded() -> None:
    assert decode(encode(MANIFEST)) == MANIFEST


def test_the_format_is_the_one_that_is_documented() -> None:
    head = (
        '{"attempt":"id1","generation":7,"metadata":{"lr":0.1},"parts":['
        '{"digest_from":"memory","path":"model","size_bytes":1},'
        '{"digest_from":"file","path":"sub/\\u00e4 b","size_bytes":1}],"step":42,"world_size":1}'
    )
    body = f"# lastgood manifest 1\n# {head}\n{SHA}  model\n{SHA}  sub/ä b\n".encode()

    assert encode(MANIFEST) == sealed(body)


def test_the_format_of_chunks_is_the_one_that_is_documented() -> None:
    head = (
        '{"attempt":"id1","chunk_bytes":4,"generation":7,"metadata":{},"parts":['
        f'{{"chunks":"{SHA}{SHA}{SHA}","digest_from":"memory","path":"model","size_bytes":9}},'
        '{"digest_from":"memory","path":"small","size_bytes":4}],"step":42,"world_size":1}'
    )
    body = f"# lastgood manifest 1\n# {head}\n{SHA}  model\n{SHA}  small\n".encode()
    other = evolve(
        CHUNKED,
        parts=(Part("model", 9, SHA, "memory", SHA[:32] * 3), CHUNKED.parts[1]),
        chunking=Chunking(4, "xxh3"),
    )

    assert encode(CHUNKED) == sealed(body)
    assert b'"chunk_bytes":4,"chunk_digest":"xxh3","generation"' in encode(other)
    assert decode(encode(other)) == other


@pytest.mark.parametrize("chunk_bytes", [None, 4096])
def test_sha256sum_checks_a_group_without_us(tmp_path: Path, chunk_bytes: int | None) -> None:
    with open_store(tmp_path, chunk_bytes=chunk_bytes) as store:
        model = bytes(9000)
        group = Path(store.save(1, {**PARTS, "model": model, "with space": b""}).path)

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sha256sum", "-c", "MANIFEST"],
            cwd=group,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = check()
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["model: OK", "optim/adam: OK", "with space: OK"]
    assert done.stderr == ""

    (group / "optim" / "adam").write_bytes(b"moment?")
    assert "optim/adam: FAILED" in check().stdout


@given(
    numbers=st.tuples(*[st.integers(0, MAX_SIZE_BYTES)] * 4),
    attempt=st.text(max_size=4),
    path=st.text(max_size=4).filter(is_safe_part_path),
)
def test_any_counts_and_any_safe_path_are_decoded_as_they_were_encoded(
    numbers: tuple[int, int, int, int], attempt: str, path: str
) -> None:
    generation, step, size_bytes, world_size = numbers
    parts = (Part(path, size_bytes, SHA),)
    manifest = Manifest(generation, step, attempt, parts, world_size, {"a": step})

    assert decode(encode(manifest)) == manifest


def test_every_truncation_is_refused() -> None:
    data = encode(MANIFEST)

    for length in range(len(data)):
        assert reason_for(data[:length]).startswith("manifest_error:")


def test_every_other_value_of_any_one_byte_is_refused() -> None:
    data = encode(Manifest(7, 42, "", (Part("a", 3, SHA),)))

    for place, change in itertools.product(range(len(data)), range(1, 256)):
        changed = bytearray(data)
        changed[place] ^= change
        with pytest.raises(ManifestError):
            decode(bytes(changed))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "manifest_error:not_a_manifest"),
        (b"\0" * 300, "manifest_error:not_a_manifest"),
        (b"# lastgood manifest 1\n", "manifest_error:truncated"),
        (sealed(b"# lastgood manifest 1\n# {]\n"), "manifest_error:json"),
        (sealed(b"# lastgood manifest 1\n# " + b"[" * 100_000 + b"\n"), "manifest_error:json"),
        (sealed(b"# lastgood manifest 1\n# " + b"9" * 9999 + b"\n"), "manifest_error:json"),
        (sealed(b"# lastgood manifest 1\nhello\n"), "manifest_error:json"),
        (sealed(b"# lastgood manifest 1\n# {}\n"), "manifest_error:keys"),
        (forged(generation=-1), "manifest_error:value"),
        (forged(step=True), "manifest_error:value"),
        (forged(metadata=[]), "manifest_error:value"),
        (forged(metadata={"x": float("nan")}), "manifest_error:json"),
        (forged(parts=[]), "manifest_error:parts"),
        (forged(parts=[{"path": "model"}, {}]), "manifest_error:parts"),
        (forged(generation=7).replace(b'"step":42', b'"step": 42'), "commit_manifest_mismatch"),
    ],
)
def test_malformed_bytes_are_refused_for_their_own_reason(data: bytes, reason: str) -> None:
    assert reason_for(data) == reason


@pytest.mark.parametrize(
    "data",
    [
        forged(CHUNKED, chunk_bytes=...),
        forged(CHUNKED, chunk_bytes=0),
        forged(CHUNKED, chunk_bytes=-4),
        forged(CHUNKED, chunk_bytes=3),
        forged(CHUNKED, chunk_bytes=4.0),
        forged(CHUNKED, chunk_bytes=True),
        forged(CHUNKED, chunk_bytes="4"),
        forged(CHUNKED, chunk_bytes=None),
        forged(CHUNKED, chunk_bytes=2),
        forged(CHUNKED, chunk_bytes=8),
        forged(CHUNKED, chunk_bytes=1 << 62),
        forged(CHUNKED, chunk_digest=["sha256"]),
        forged(CHUNKED, chunk_digest="xxh3"),
        forged(CHUNKED, chunk_bytes=..., chunk_digest="xxh3"),
        forged(MANIFEST, chunk_bytes=4096),
        forged(MANIFEST, chunk_digest="xxh3"),
        chunked(chunks=SHA * 2),
        chunked(chunks=SHA * 4),
        chunked(chunks=SHA * 2 + SHA[1:]),
        chunked(chunks=(SHA * 3).upper()),
        chunked(chunks=SHA * 2 + "x" * 64),
        chunked(chunks=[SHA] * 3),
        chunked(chunks=None),
        chunked(),
        chunked(size_bytes=4, chunks=SHA),
        chunked(size_bytes=2**63 - 1, chunks=SHA * 3),
    ],
)
def test_chunks_that_no_save_has_written_are_refused(data: bytes) -> None:
    assert reason_for(data) == "manifest_error:chunks"


@pytest.mark.parametrize(
    "data",
    [
        forged(CHUNKED, chunk_bytes=1 << 63),
        forged(CHUNKED, chunk_bytes=10**30),
        forged(CHUNKED, chunk_digest="sha256"),
        chunked(size_bytes=-1, chunks=SHA),
        forged(
            parts=[{"chunks": "", "digest_from": "memory", "path": "model", "size_bytes": 1}] * 2
        ),
    ],
)
def test_chunks_in_another_place_or_spelling_are_refused_as_well(data: bytes) -> None:
    assert reason_for(data).startswith("manifest_error:")


def test_more_digests_of_chunks_than_a_manifest_may_have_are_refused() -> None:
    count = DIGESTS_LIMIT_BYTES // 64 + 1
    part = Part("model", count, SHA, "memory", SHA * count)
    data = encode(Manifest(7, 42, "id1", (part,), chunking=Chunking(1, "sha256")))
    fits = Part("model", count - 1, SHA, "memory", SHA * (count - 1))
    manifest = Manifest(7, 42, "id1", (fits,), chunking=Chunking(1, "sha256"))

    assert reason_for(data) == "manifest_error:chunks"
    assert decode(encode(manifest)) == manifest


@given(
    chunk_bytes=st.sampled_from([1, 4, 1 << 20, 1 << 62]),
    algorithm=st.sampled_from(["sha256", "blake3", "xxh3"]),
    kind=st.sampled_from(["sha256", "blake3", "xxh3"]),
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    dice=st.randoms(use_true_random=False),
)
def test_decoding_gives_back_chunks_and_a_changed_bit_of_them_is_refused(
    chunk_bytes: int, algorithm: str, kind: str, sizes: list[int], dice: random.Random
) -> None:
    chunking = Chunking(chunk_bytes, kind)
    digest = "0123456789abcdef" * (HEX_DIGITS[algorithm] // 16)
    parts = tuple(
        Part(f"p{n}", size, digest, "memory", "a" * chunking.count(size) * chunking.digits)
        for n, size in enumerate(sizes)
    )
    has_chunks = any(part.chunks for part in parts)
    manifest = Manifest(
        7, 42, "id1", parts, algorithm=algorithm, chunking=chunking if has_chunks else None
    )
    data = bytearray(encode(manifest))
    assert decode(bytes(data)) == manifest

    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    with pytest.raises(ManifestError):
        decode(bytes(data))


def test_another_spelling_of_the_same_content_is_refused() -> None:
    lines = encode(MANIFEST).split(b"\n")
    spaced = lines[1].replace(b'"step":42', b'"step": 42')

    assert reason_for(sealed(b"\n".join([lines[0], spaced, *lines[2:4], b""]))) == (
        "manifest_error:form"
    )


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../b", "a//b", "./a", "a/", "", ".", "..", "a\\b", "MANIFEST"],
)
def test_a_path_that_leaves_the_group_is_refused_by_name(path: str) -> None:
    part = {"digest_from": "memory", "path": path, "size_bytes": 1}
    other = {"digest_from": "memory", "path": "model", "size_bytes": 1}

    assert reason_for(forged(parts=[part, other])) == f"unsafe_path:{path!a}"


@pytest.mark.parametrize(
    "path", ["a\nb", "a\0b", "a\x1b[31m", "\ud800", "a" * 256, "a/" * 600 + "a"]
)
def test_paths_that_terminals_or_file_systems_choke_on_are_not_safe(path: str) -> None:
    assert not is_safe_part_path(path)


@pytest.mark.parametrize("path", ["model", "a/b/c.bin", "ä", "a b", "...", "manifest.json"])
def test_ordinary_paths_are_safe(path: str) -> None:
    assert is_safe_part_path(path)


@given(st.text("a./\\-# \n\x1b\u00e4", min_size=1, max_size=6).filter(is_safe_part_path))
def test_a_safe_path_names_something_below_its_group(path: str) -> None:
    joined = f"/group/{path}"

    assert posixpath.normpath(joined) == joined
    assert not {"\n", "\x1b", "\\"} & {*path}


def test_two_parts_that_need_one_name_clash() -> None:
    assert find_clash(["a", "b", "a"]) == "a"
    assert find_clash(["a/b/c", "a/b"]) == "a/b"
    assert find_clash(["a/b", "a/c", "ab"]) is None


def test_what_is_no_manifest_is_told_by_how_it_begins() -> None:
    with pytest.raises(ManifestError, match=r"it begins with 'junk', expected '# lastgood man"):
        decode(sealed(b"junk\n"))
