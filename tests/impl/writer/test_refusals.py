"""What a user may not ask for: refused in words, before anything was changed."""

from __future__ import annotations

import errno
import math
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import lastgood
from lastgood import StorageError, Store, UsageError
from tests.impl.disks import PARTS, WatchedDisk, failing, nested, open_store, tree

RELEASED = memoryview(b"gone")
RELEASED.release()
MASKED = np.ma.masked_array(np.arange(3), mask=[False, True, False])
MASKED_VIEW = memoryview(MASKED)  # type: ignore[arg-type]
CIRCULAR: dict[str, Any] = {}
CIRCULAR["x"] = [CIRCULAR]


@pytest.mark.parametrize(
    ("step", "parts", "metadata", "words"),
    [
        (-1, PARTS, {}, "step is -1"),
        (True, PARTS, {}, "step is True"),
        (10**18, PARTS, {}, "step is"),
        (1, {}, {}, "one part at least"),
        (1, {"../x": b""}, {}, "'../x'"),
        (1, {"/x": b""}, {}, "'/x'"),
        (1, {"MANIFEST": b""}, {}, "MANIFEST"),
        (1, {"a": b"", "a/b": b""}, {}, "both a part and a directory"),
        (1, {"a": "text"}, {}, "is str"),
        (1, {"a": 5}, {}, "is int"),
        (1, {"a": memoryview(b"abcd")[::2]}, {}, "np.ascontiguousarray"),
        (1, {"a": RELEASED}, {}, "released memoryview"),
        (1, {"MANIFEST/x": b""}, {}, "'MANIFEST/x'"),
        (1, {"-": b""}, {}, "'-'"),
        (1, {"a": PurePosixPath("x")}, {}, "is PurePosixPath"),
        (1, {"a": Path("/" + "x" * 300)}, {}, "'a'"),
        (1.0, PARTS, {}, "step is 1.0"),
        (1, None, {}, "parts is NoneType"),
        (1, [b""], {}, "parts is list"),
        (1, {"a"}, {}, "parts is set"),
        (1, {"a": {b"x", b"y"}}, {}, "is a set, whose order is another one in each process"),
        (1, {"a": frozenset({b"x"})}, {}, "is a frozenset"),
        (1, {"a": MASKED}, {}, "MaskedArray, whose memory says nothing of its mask"),
        (1, {"a": MASKED_VIEW}, {}, "MaskedArray, whose memory says nothing of its mask"),
        (1, {"a": np.ma.masked_array([1, 2])}, {}, "pass array.filled(...)"),
        (1, PARTS, [], "found list, expected a mapping"),
        (1, {"a": Path("/no/such/file")}, {}, "no regular file"),
        (1, PARTS, {"x": float("nan")}, "metadata['x'] is nan, which JSON cannot say"),
        (1, PARTS, {"a": {"b": [0, -math.inf]}}, "metadata['a']['b'][1] is -inf, which JSON"),
        (1, PARTS, {"x": object()}, "metadata['x'] is object, which JSON cannot say"),
        (1, PARTS, {"x": np.float32(1)}, "metadata['x'] is float32, which JSON cannot say"),
        (1, PARTS, {"x": MappingProxyType({})}, "metadata['x'] is mappingproxy, expected a dict"),
        (1, PARTS, {"x": [{2: 1}]}, "metadata['x'][0] has the key 2 of type int"),
        (1, PARTS, {"x": [2**63]}, "metadata['x'][0] is an integer of 64 bits"),
        (1, PARTS, nested(65), "metadata['x'][0][0][0][…][0][0][0][0] is nested more than 64"),
        (1, PARTS, {"x": {1: 2}}, "not text"),
        (1, PARTS, {"x": 2**63}, "2**63-1"),
        (1, PARTS, {"x": [-(2**63) - 1]}, "2**63-1"),
        (1, PARTS, {"seed": 10**4000}, "write a longer one as text"),
        (1, PARTS, nested(65), "more than 64 deep"),
        (1, PARTS, nested(100_000), "more than 64 deep"),
        (1, PARTS, CIRCULAR, "contains itself"),
        (1, PARTS, {"x": "y" * (16 << 20)}, "manifest may need"),
    ],
)
def test_a_save_that_cannot_be_described_changes_nothing(
    tmp_path: Path, step: Any, parts: Any, metadata: Any, words: str
) -> None:
    with open_store(tmp_path) as store:
        before = tree(tmp_path)
        with pytest.raises(UsageError) as caught:
            store.save(step, parts, metadata)

        assert words in str(caught.value)
        assert tree(tmp_path) == before
        assert store.save(1, PARTS).generation == 1


class Index:
    """An integer of another library, as numpy's are."""

    def __index__(self) -> int:
        return 7


def test_a_step_is_whatever_counts_as_an_integer(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        receipt = store.save(Index(), PARTS)
        loaded = store.load(step=7)

    assert (receipt.step, type(receipt.step), loaded.step) == (7, int, 7)


def test_arrays_are_saved_by_their_memory_or_refused(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    good = {
        "floats": numpy.arange(6, dtype=">f4").reshape(2, 3),
        "complex": numpy.ones(2, complex),
        "none": numpy.zeros((0, 3)),
    }
    bad = {
        "of Python objects": numpy.array([object()]),
        "Python objects": numpy.zeros(2, [("a", "O")]),
        "np.ascontiguousarray": numpy.zeros((4, 4)).T,
        "cannot be read": numpy.zeros(2, "M8[s]"),
    }
    with open_store(tmp_path) as store:
        store.save(numpy.int64(3), good)
        loaded = store.load(step=3)
        before = tree(tmp_path)
        for words, array in bad.items():
            with pytest.raises(UsageError, match=words):
                store.save(4, {"a": array})
            with pytest.raises(UsageError, match=words):
                store.save(4, {"a": [b"first", array]})
        assert tree(tmp_path) == before

    assert {name: loaded.read(name) for name in good} == {
        name: array.tobytes() for name, array in good.items()
    }


def test_a_file_that_may_not_be_looked_at_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    with open_store(tmp_path) as store:
        before = tree(tmp_path)
        monkeypatch.setattr(Path, "is_file", refuse)
        with pytest.raises(UsageError, match="Permission denied"):
            store.save(1, {"a": tmp_path / "file"})
        monkeypatch.undo()
        assert tree(tmp_path) == before


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG])
def test_a_store_that_may_not_be_looked_at_is_a_storage_error(tmp_path: Path, number: int) -> None:
    disk = WatchedDisk(tmp_path, failing("kind", "store", number))

    with pytest.raises(StorageError, match=errno.errorcode[number]):
        lastgood.open_read_only(tmp_path / "store", disk=disk)


def test_a_path_that_is_too_long_is_a_storage_error(tmp_path: Path) -> None:
    for opening in (Store, lastgood.open_read_only):
        with pytest.raises(StorageError, match="ENAMETOOLONG"):
            opening(tmp_path / ("x" * 300))
    assert tree(tmp_path) == {}


def test_a_store_that_is_a_file_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"mine")

    for writable in (True, False):
        with pytest.raises(UsageError, match="found a regular file"):
            Store(tmp_path / "store", writable=writable)
    with pytest.raises(UsageError, match="found a regular file"):
        Store(tmp_path / "store" / "below")
    assert tree(tmp_path) == {"store": b"mine"}


def test_a_read_only_store_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found nothing"):
        lastgood.open_read_only(tmp_path / "none")
    assert tree(tmp_path) == {}


def test_a_read_only_store_cannot_save(tmp_path: Path) -> None:
    with open_store(tmp_path):
        pass
    with (
        lastgood.open_read_only(tmp_path / "store") as store,
        pytest.raises(UsageError, match="read-only"),
    ):
        store.save(1, PARTS)


@pytest.mark.parametrize("bad", ["", "a\0b", "a\ud800"])
def test_a_path_that_cannot_be_one_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="store path"):
        Store(bad)


def test_unknown_words_are_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unsafe, atomic_nodirsync, atomic_dirsync"):
        Store(tmp_path / "store", mode="safe")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="auto, record, rename"):
        Store(tmp_path / "store", form="both")  # type: ignore[arg-type]
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [("Model", "model"), ("A/x", "a/y"), ("ß", "ss"), ("\u00e9", "e\u0301"), ("\u00c9", "e\u0301")],
)
def test_names_that_are_one_on_some_file_systems_are_refused(
    tmp_path: Path, one: str, other: str
) -> None:
    with open_store(tmp_path) as store:
        before = tree(tmp_path)
        with pytest.raises(UsageError, match="are one name on file systems that ignore") as caught:
            store.save(1, {one: b"", other: b""})
        assert tree(tmp_path) == before
        store.save(1, {"e\u0301": b"", "\u00ea": b""})

    # Two spellings of one letter look alike: the message tells them apart.
    first, second = str(caught.value).split(" are one name")[0].split(" and ")
    assert first != second
    assert first.isascii()


@pytest.mark.parametrize(
    "options",
    [
        {"workers": "2"},
        {"workers": 0},
        {"workers": True},
        {"workers": 1.5},
        {"on_event": 5},
        {"clock": 5},
        {"now": 5},
        {"new_id": "id"},
        {"chunk_bytes": "4096"},
        {"mode": 5},
        {"digest": "md5"},
    ],
)
def test_an_option_that_makes_no_sense_is_a_usage_error_and_makes_no_store(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="Nothing was changed"):
        Store(tmp_path / "store", **options)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("given", [math.nan, math.inf, "noon", None, True])
def test_a_clock_that_gives_no_time_ends_a_save_in_words(tmp_path: Path, given: Any) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
    before = tree(tmp_path)
    with open_store(tmp_path, now=lambda: given, keep=lastgood.LatestN(1)) as store:
        with pytest.raises(UsageError, match=r"now\(\) gave .*expected Unix time"):
            store.save(2, PARTS)
        with pytest.raises(UsageError, match=r"now\(\) gave"):
            store.prune()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("number", ["1", True, 1.0, -1, b"1", 1j])
@pytest.mark.parametrize("form", ["step", "generation", "older_than"])
def test_what_is_no_integer_is_no_group_to_ask_for(tmp_path: Path, number: Any, form: str) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        match = f"{form} is .*expected an integer from 0. Nothing was changed"
        with pytest.raises(UsageError, match=match):
            store.open_group(**{form: number})
        if form != "older_than":
            with pytest.raises(UsageError, match=match):
                store.load(**{form: number})
        if form == "step":
            with pytest.raises(UsageError, match=match):
                store.restore(number)


def test_an_integer_of_another_library_is_one_to_ask_for(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save(7, PARTS)

        assert store.load(np.int64(7)).step == 7  # type: ignore[arg-type]
        assert store.load(Index()).generation == 1  # type: ignore[arg-type]


def test_parts_to_open_that_are_not_several_are_refused(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save(1, PARTS)
        with pytest.raises(UsageError, match="parts is 5, expected paths"):
            store.open_group(parts=5)  # type: ignore[arg-type]


class Raising:
    """An object of foreign code that fails whoever looks at it."""

    def __getattr__(self, name: str) -> object:
        raise MemoryError(name)


def test_an_error_of_foreign_code_that_says_nothing_about_a_part_comes_out_as_it_is(
    tmp_path: Path,
) -> None:
    data: Any = Raising()

    with open_store(tmp_path) as store, pytest.raises(MemoryError, match="__dlpack__"):
        store.save(1, {"model": data})
