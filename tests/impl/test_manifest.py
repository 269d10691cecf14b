from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from lastgood.manifest import (
    Manifest,
    ManifestError,
    Part,
    clash,
    decode,
    encode,
    is_safe_part_path,
)
from tests.impl.disks import PARTS, open_store

SHA = hashlib.sha256(b"x").hexdigest()
MANIFEST = Manifest(
    7, 42, "id1", (Part("model", 1, SHA), Part("sub/ä b", 1, SHA, "file")), 1, {"lr": 0.1}
)


def sealed(body: bytes) -> bytes:
    return body + f"# sha256 {hashlib.sha256(body).hexdigest()}\n".encode()


def forged(**changes: object) -> bytes:
    """A manifest whose seal is right and whose JSON line was changed."""
    lines = encode(MANIFEST).split(b"\n")
    head = json.loads(lines[1][2:]) | changes
    text = json.dumps(head, sort_keys=True, separators=(",", ":"))
    return sealed(b"\n".join([lines[0], b"# " + text.encode(), *lines[2:4], b""]))


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


def test_sha256sum_checks_a_group_without_us(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        group = Path(store.save(1, {**PARTS, "with space": b""}).path)

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


def test_every_truncation_is_refused() -> None:
    data = encode(MANIFEST)

    for length in range(len(data)):
        assert reason_for(data[:length]).startswith("manifest_error:")


def test_every_single_bit_flip_is_refused() -> None:
    data = encode(MANIFEST)

    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            with pytest.raises(ManifestError):
                decode(bytes(flipped))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "manifest_error:not_a_manifest"),
        (b"\0" * 300, "manifest_error:not_a_manifest"),
        (b"# lastgood manifest 1\n", "manifest_error:truncated"),
        (sealed(b"# lastgood manifest 2\n# {}\n"), "manifest_error:version"),
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


def test_two_parts_that_need_one_name_clash() -> None:
    assert clash(["a", "b", "a"]) == "a"
    assert clash(["a/b/c", "a/b"]) == "a/b"
    assert clash(["a/b", "a/c", "ab"]) is None
