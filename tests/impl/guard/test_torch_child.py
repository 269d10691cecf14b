"""The child that loads PyTorch's files: its limits, and what its parent believes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.guard import Guard, Limits, LoaderMissingError, LoadFailedError, torch_child
from lastgood.guard.torch_child import TorchChild
from tests.impl.guard.files import fake_torch, saying

FACTS = {"name": "w", "dtype": "uint8", "shape": [4], "digest": "0" * 64, "nan": 0, "inf": 0}


@pytest.fixture
def child(tmp_path: Path) -> Iterator[TorchChild]:
    limits = Limits(memory_bytes=256 << 20, seconds=20)
    with TorchChild(limits, fake_torch(tmp_path)) as made:
        yield made


def file(tmp_path: Path, said: bytes) -> str:
    path = tmp_path / "model.pt"
    path.write_bytes(said)
    return str(path)


def kind_of(child: TorchChild, path: str) -> str:
    with pytest.raises(LoadFailedError) as caught:
        child.load(path, 4)
    return caught.value.kind


def test_tensors_inside_of_nested_mappings_are_named_by_their_way(
    child: TorchChild, tmp_path: Path
) -> None:
    (tensor,) = child.load(file(tmp_path, b"abcd"), 4)

    assert (tensor.name, tensor.dtype, tensor.shape) == ("outer.w", "uint8", (4,))


def test_one_child_answers_for_many_files(child: TorchChild, tmp_path: Path) -> None:
    digests = {child.load(file(tmp_path, said), 4)[0].digest for said in (b"abcd", b"abce")}

    assert len(digests) == 2


def test_what_a_load_raises_is_told_by_its_type_and_the_child_goes_on(
    child: TorchChild, tmp_path: Path
) -> None:
    assert kind_of(child, file(tmp_path, b"raise")) == "RuntimeError"
    assert child.load(file(tmp_path, b"abcd"), 4)


def test_memory_is_limited(child: TorchChild, tmp_path: Path) -> None:
    assert kind_of(child, file(tmp_path, b"memory")) == "MemoryError"


def test_a_bigger_file_may_take_more_memory(child: TorchChild, tmp_path: Path) -> None:
    assert child.load(file(tmp_path, b"memory"), 1 << 30) == ()


def test_time_is_limited_and_the_next_file_gets_another_child(tmp_path: Path) -> None:
    with TorchChild(Limits(seconds=0.2), fake_torch(tmp_path)) as child:
        assert kind_of(child, file(tmp_path, b"hang")) == "Timeout"
    with TorchChild(Limits(seconds=20), fake_torch(tmp_path)) as child:
        assert kind_of(child, file(tmp_path, b"die")) == "ChildDied"
        assert child.load(file(tmp_path, b"abcd"), 4)


def test_what_a_library_prints_is_no_answer(child: TorchChild, tmp_path: Path) -> None:
    assert child.load(file(tmp_path, b"chatter"), 4)[0].name == "outer.w"


def test_the_child_cannot_write_files(child: TorchChild, tmp_path: Path) -> None:
    target = tmp_path / "written"

    assert kind_of(child, file(tmp_path, b"write " + str(target).encode())) == "OSError"
    assert not target.exists() or target.read_bytes() == b""


def test_nesting_is_followed_to_a_limit_only(child: TorchChild, tmp_path: Path) -> None:
    assert child.load(file(tmp_path, b"deep"), 4) == ()


def test_the_child_follows_no_symlink_and_waits_for_no_fifo(
    child: TorchChild, tmp_path: Path
) -> None:
    import os

    os.mkfifo(tmp_path / "fifo.pt")
    (tmp_path / "link.pt").symlink_to(file(tmp_path, b"abcd"))

    assert kind_of(child, str(tmp_path / "fifo.pt")) == "ValueError"
    assert kind_of(child, str(tmp_path / "link.pt")) == "OSError"


def test_an_endless_answer_ends_at_the_limit(tmp_path: Path) -> None:
    endless = (
        'import sys\nprint(\'{"ready": ""}\', flush=True)\nsys.stdin.readline()\n'
        "while True: sys.stdout.write('x' * 65536)\n"
    )
    limits = Limits(answer_bytes=1 << 20)
    with TorchChild(limits, lambda: (sys.executable, "-I", "-c", endless)) as child:
        assert kind_of(child, file(tmp_path, b"")) == "OutputLimit"


@pytest.mark.parametrize(
    "answer",
    [
        "no json",
        "[]",
        "[" * 50_000,
        json.dumps({"tensors": [{**FACTS, "digest": "0" * 63}]}),
        json.dumps({"tensors": [{**FACTS, "shape": [-1]}]}),
        json.dumps({"tensors": [{**FACTS, "nan": True}]}),
        json.dumps({"tensors": [{**FACTS, "name": "n" * 5000}]}),
        json.dumps({"tensors": [{**FACTS, "more": 1}]}),
        json.dumps({"tensors": {}}),
        json.dumps({"error": "a;b\n"}),
        json.dumps({"error": 3}),
    ],
)
def test_an_answer_that_is_none_is_not_believed(tmp_path: Path, answer: str) -> None:
    with TorchChild(Limits(), saying(answer)) as child:
        assert kind_of(child, file(tmp_path, b"")) == "BadAnswer"


def test_a_right_answer_is_believed(tmp_path: Path) -> None:
    with TorchChild(Limits(), saying(json.dumps({"tensors": [FACTS]}))) as child:
        assert [each.name for each in child.load(file(tmp_path, b""), 0)] == ["w"]


def test_a_deadline_is_counted_by_the_clock_that_is_given(tmp_path: Path) -> None:
    ticks = iter(range(0, 10_000, 100))
    child = TorchChild(
        Limits(seconds=60, start_seconds=1000), saying(""), clock=lambda: float(next(ticks))
    )
    with child:
        assert kind_of(child, file(tmp_path, b"")) in ("Timeout", "BadAnswer")


def test_a_missing_torch_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_child, "find_spec", lambda _name: None)
    path = file(tmp_path, b"abcd")
    with Guard() as guard:
        report = guard.check(path)
        with pytest.raises(LoaderMissingError, match="torch"):
            guard.write_sidecar(path)
        assert guard.write_sidecar(path, "opaque").exists()

    assert not report.corrupted
    assert not report.is_judged
    assert report.warnings == ("no_sidecar", "not_loaded:no_torch")


def test_a_guard_compares_the_tensors_that_its_child_tells(tmp_path: Path) -> None:
    path = file(tmp_path, b"abcd")
    with Guard(torch_child=TorchChild(Limits(), fake_torch(tmp_path))) as guard:
        guard.write_sidecar(path)
        intact = guard.check(path)
        file(tmp_path, b"abce")
        damaged = guard.check(path)

    assert not intact.corrupted
    assert damaged.reasons == ("digest_mismatch", "file_sha_mismatch")
    assert damaged.damaged == ("outer.w",)
