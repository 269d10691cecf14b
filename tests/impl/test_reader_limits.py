"""What a reader cannot do says nothing about the group: no limit of its process is damage."""

from __future__ import annotations

import errno
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lastgood import LastgoodError, StorageError
from lastgood.format.manifest import ManifestError, decode
from lastgood.format.metadata import MAX_DEPTH, from_text
from tests.impl.disks import PARTS, WatchedDisk, failing, nested, open_store, tree


def deep(frames: int, call: Callable[[], Any]) -> Any:
    """Call from that many frames further down the stack."""
    return call() if frames == 0 else deep(frames - 1, call)


def room() -> int:
    """How many more frames there are."""
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return sys.getrecursionlimit() - depth


def test_a_load_from_deep_in_the_stack_never_sets_a_good_group_aside(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS, nested(MAX_DEPTH))
        before = tree(tmp_path)
        seen = set()
        for left in range(5, 200, 5):
            try:
                loaded = deep(room() - left, store.load_latest)
            except (LastgoodError, RecursionError) as error:
                seen.add(type(error))
            else:
                assert loaded is not None
                assert (loaded.generation, loaded.rejected) == (1, ())
                seen.add(type(loaded))
            assert tree(tmp_path) == before
        assert len(seen) > 1  # otherwise the sweep has missed the edge
        assert seen & {StorageError, RecursionError}


@pytest.mark.parametrize("error", [RecursionError, MemoryError])
def test_a_manifest_that_this_process_cannot_decode_is_a_storage_error(
    tmp_path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise error

    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        before = tree(tmp_path)
        monkeypatch.setattr("lastgood.format.metadata.json.loads", fail)
        with pytest.raises(StorageError, match="no sign of damage"):
            store.load_latest()
        monkeypatch.undo()
        assert tree(tmp_path) == before
        assert store.load_latest() is not None


@pytest.fixture
def few_digits() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    yield
    sys.set_int_max_str_digits(before)


def sealed(head: str) -> bytes:
    body = f"# lastgood manifest 1\n# {head}\n{'0' * 64}  model\n".encode()
    return body + f"# sha256 {hashlib.sha256(body).hexdigest()}\n".encode()


def manifest(metadata: str) -> bytes:
    part = '{"digest_from":"memory","path":"model","size_bytes":1}'
    return sealed(
        f'{{"attempt":"a","generation":1,"metadata":{metadata},"parts":[{part}],'
        '"step":1,"world_size":1}'
    )


@pytest.mark.parametrize(
    ("digits", "expected"),
    [(18, "1"), (19, "1"), *((n, "manifest_error:json") for n in (20, 700, 4000))],
)
def test_every_process_has_the_same_answer_to_a_long_integer(digits: int, expected: str) -> None:
    """The digits that Python converts are a setting of the process."""
    answers = []
    before = sys.get_int_max_str_digits()
    try:
        for limit in (0, 640, 4300):
            sys.set_int_max_str_digits(limit)
            try:
                answers.append(str(decode(manifest(f'{{"seed":{"7" * digits}}}')).step))
            except ManifestError as error:
                answers.append(error.reason)
    finally:
        sys.set_int_max_str_digits(before)

    assert answers == [expected] * 3


def test_the_largest_integers_are_loaded_with_few_digits(tmp_path: Path, few_digits: None) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS, {"seed": 2**63 - 1, "low": -(2**63)})
        loaded = store.load_latest()

    assert loaded is not None
    assert loaded.metadata == {"seed": 2**63 - 1, "low": -(2**63)}


@pytest.mark.parametrize("count", ["generation", "step", "world_size", "size_bytes"])
def test_a_count_beyond_63_bits_is_malformed(count: str) -> None:
    good = manifest("{}").decode().split("\n")[1][2:]
    head = json.loads(good)
    (head["parts"][0] if count == "size_bytes" else head)[count] = 2**63
    text = json.dumps(head, sort_keys=True, separators=(",", ":"))

    assert decode(sealed(good)).step == 1
    with pytest.raises(ManifestError) as caught:
        decode(sealed(text))
    assert caught.value.reason.startswith("manifest_error:")


@pytest.mark.parametrize(
    ("text", "depth"),
    [("[" * 66 + "]" * 66, 66), ('{"a":' * 66 + "1" + "}" * 66, 66), ("[" * 10**6, 10**6)],
)
def test_what_is_nested_too_deep_is_refused_before_anything_nests(text: str, depth: int) -> None:
    assert depth > MAX_DEPTH + 1
    with pytest.raises(ValueError, match="nested more than 65 deep"):
        from_text(text)


def test_brackets_inside_text_are_not_nesting() -> None:
    value = ["[" * 100, '"' + "{" * 100, "\\", "[" * 100]

    assert from_text(json.dumps(value)) == value
    assert from_text("[" * 65 + "]" * 65) is not None


def test_many_quotes_are_read_in_one_pass() -> None:
    """A quadratic scan of this text would take hours."""
    with pytest.raises(ValueError, match="Unterminated"):
        from_text('"' + '\\"' * 2_000_000)


@pytest.mark.parametrize(
    ("call", "ending"), [("read", "MANIFEST"), ("digest", "model"), ("kind", "optim")]
)
def test_a_path_that_is_too_long_here_is_not_damage(tmp_path: Path, call: str, ending: str) -> None:
    """A store may be reached by a longer path than the one that it was written under."""
    disk = WatchedDisk(tmp_path)
    with open_store(tmp_path, disk=disk) as store:
        store.save(1, PARTS)
        before = tree(tmp_path)
        disk.fault = failing(call, ending, errno.ENAMETOOLONG)
        with pytest.raises(StorageError, match=r"ENAMETOOLONG.*no sign of damage"):
            store.load_latest()
        assert tree(tmp_path) == before
