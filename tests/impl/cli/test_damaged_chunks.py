"""The command line, of groups with chunks: what is damaged, and how much of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.impl.cli.commands import run, said
from tests.impl.disks import Unsynced, open_store, tree
from tests.impl.format.test_chunks import CHUNK, noise

GROUP = "gen-00000001-step-00000001"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    parts = {"model": noise(6 * CHUNK), "tokens": noise(3 * CHUNK - 1, 1), "rng.json": b"{}"}
    with open_store(
        tmp_path, disk=Unsynced(tmp_path), chunk_bytes=CHUNK, chunk_digest="xxh3"
    ) as opened:
        opened.save(1, parts)
    return tmp_path.resolve() / "store"


def damage(store: Path) -> None:
    """Two chunks in a row and one apart, the second part cut short, the third changed."""
    with (store / GROUP / "model").open("r+b") as file:
        for place in (2 * CHUNK - 1, 2 * CHUNK, 5 * CHUNK + 3):
            file.seek(place)
            old = file.read(1)
            file.seek(place)
            file.write(bytes([old[0] ^ 255]))
    with (store / GROUP / "tokens").open("r+b") as file:
        file.truncate(CHUNK)
    (store / GROUP / "rng.json").write_bytes(b"[]")


def test_verify_names_every_damaged_range_and_no_intact_one(store: Path) -> None:
    damage(store)
    before = tree(store)
    done = run("verify", str(store))
    (row,) = said("verify", str(store))["groups"]

    assert done.exit_code == 1
    assert (
        f"{5 * CHUNK + 1} bytes are damaged in all: bytes 4096 to 12287 of 'model' (chunks 1 to "
        "2), bytes 20480 to 24575 of 'model' (chunk 5), bytes 4096 to 12286 of 'tokens' "
        "(chunks 1 to 2), bytes 0 to 1 of 'rng.json' (digest_mismatch:model)"
    ) in done.stderr
    assert "'model': chunk 1 of 6, bytes 4096 to 8191, has the XXH3" in done.stderr
    assert row["verdict"] == "digest_mismatch:model"
    assert [
        (r["part"], r["reason"].split(":")[0], r["offset_bytes"], r["size_bytes"], r["chunk"])
        for r in row["damaged"]
    ] == [
        ("model", "digest_mismatch", CHUNK, 2 * CHUNK, 1),
        ("model", "digest_mismatch", 5 * CHUNK, CHUNK, 5),
        ("tokens", "digest_mismatch", CHUNK, 2 * CHUNK - 1, 1),
        ("rng.json", "sha_mismatch", 0, 2, None),
    ]
    assert tree(store) == before


def test_an_intact_group_has_no_damage_and_says_that_it_has_chunks(store: Path) -> None:
    (row,) = said("verify", str(store))["groups"]
    (listed,) = said("ls", str(store))["groups"]
    plain = run("show", str(store), "1").stdout
    shown = said("show", str(store), "1")

    assert (row["verdict"], row["damaged"], row["chunk_bytes"]) == ("valid", [], CHUNK)
    assert listed["chunk_bytes"] == CHUNK
    assert "chunks of 4,096 bytes have xxh3" in " ".join(plain.split())
    assert (shown["chunk_bytes"], shown["chunk_digest"]) == (CHUNK, "xxh3")
    assert [len(part["chunks"]) for part in shown["parts"]] == [6, 3, 0]
    assert all(len(digest) == 32 for part in shown["parts"] for digest in part["chunks"])


def test_a_group_without_chunks_says_which_parts_are_damaged(tmp_path: Path) -> None:
    with open_store(tmp_path, disk=Unsynced(tmp_path)) as opened:
        opened.save(1, {"a": b"1234", "b": b"5678", "c": b"9"})
    store = tmp_path.resolve() / "store"
    (store / GROUP / "a").write_bytes(b"1239")
    (store / GROUP / "c").unlink()
    (row,) = said("verify", str(store))["groups"]

    assert row["chunk_bytes"] is None
    assert [(r["part"], r["reason"], r["size_bytes"]) for r in row["damaged"]] == [
        ("a", "sha_mismatch:a", 4),
        ("c", "missing:c", 1),
    ]
    assert said("show", str(store), "1")["chunk_bytes"] is None


def test_why_speaks_of_chunks_where_they_were_verified(store: Path, tmp_path: Path) -> None:
    with open_store(tmp_path / "plain", disk=Unsynced(tmp_path)) as plain:
        plain.save(1, {"model": noise(3)})

    assert "or those of its chunks, of its MANIFEST" in run("why", str(store)).stdout
    assert (
        "the size and the digest of its MANIFEST"
        in run("why", str(tmp_path / "plain" / "store")).stdout
    )
