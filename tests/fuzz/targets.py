"""What is fuzzed: functions of bytes that raise where the library breaks a promise.

Whatever the bytes are, only what the documentation names is raised by the library itself. Every
other exception is a finding, and so is every AssertionError of the oracles.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from lastgood import EverySeconds, LatestN, Store, paper
from lastgood.cli import cli
from lastgood.errors import IntegrityError, StorageError, UsageError
from lastgood.hashing import DigestUnavailableError
from lastgood.inspection import latest, listed, one_group, quarantined, verified, would_move_aside
from lastgood.layout import (
    MAX_NUMBER,
    free_name,
    given_up,
    newest_first,
    next_generation,
    parse_name,
)
from lastgood.loaded import HOLDS
from lastgood.manifest import Manifest, ManifestError, Part, decode, encode, is_safe_part_path
from lastgood.metadata import from_text, snapshot, to_text
from tests.fuzz.tape import Tape
from tests.fuzz.trees import Sandbox, edited, sealed
from tests.fuzz.watching import WatchingDisk, photograph, watched
from tests.impl.disks import open_store

Target = Callable[[bytes], None]
_DOCUMENTED: Final = (UsageError, IntegrityError, StorageError, DigestUnavailableError)
_SHA: Final = "0" * 64


def manifest_bytes(data: bytes) -> None:
    """Any bytes as a manifest."""
    found = _decoded(data)
    if isinstance(found, ManifestError):
        # Both are printed, and the reason is a word in somebody's script.
        assert found.reason.isprintable()
        assert str(found).isprintable()
    else:
        _accepted(found, data)


def _decoded(data: bytes) -> Manifest | ManifestError:
    try:
        return decode(data)
    except ManifestError as error:
        return error


def manifest_body(data: bytes) -> None:
    """Any bytes as a manifest whose own digest is right."""
    manifest_bytes(sealed(data))


def manifest_values(data: bytes) -> None:
    """A valid manifest with other values in it, spelled and sealed as it should be."""
    tape = Tape(data)
    parts = [
        {"digest_from": "memory", "path": f"p{n}", "size_bytes": n} for n in range(tape.byte() % 4)
    ]
    head = {"attempt": "x", "generation": 2, "metadata": {}, "parts": parts, "step": 2}
    head["world_size"] = 1
    for _ in range(1 + tape.byte() % 4):
        with contextlib.suppress(ZeroDivisionError, AttributeError, TypeError, KeyError):
            edited(head, tape)
    try:
        text = json.dumps(head, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return
    lines = ["# lastgood manifest 1", f"# {text}"]
    listed_parts = head.get("parts")
    for each in listed_parts if isinstance(listed_parts, list) else []:
        path = each.get("path") if isinstance(each, dict) else None
        lines.append(f"{_SHA[: 32 if head.get('digest') == 'xxh3' else 64]}  {path}")
    manifest_bytes(sealed("".join(f"{line}\n" for line in lines).encode("utf-8", "replace")))


def _accepted(manifest: Manifest, data: bytes) -> None:
    """What is accepted is in its only spelling, is safe, and can be saved again."""
    assert encode(manifest) == data
    assert manifest.parts
    for part in manifest.parts:
        assert is_safe_part_path(part.path)
        assert not part.path.startswith("/")
        assert ".." not in part.path.split("/")
        assert part.path.isprintable()
        assert 0 <= part.size_bytes < 1 << 63
    assert snapshot(manifest.metadata) == dict(manifest.metadata)


def names(data: bytes) -> None:
    """Names of entries, as a directory lists them."""
    entries = [os.fsdecode(name) for name in data.split(b"/")][:64]
    for entry in entries:
        for in_quarantine in (False, True):
            name = parse_name(entry, in_quarantine=in_quarantine)
            if name is not None:
                assert entry.startswith(str(name))
                assert in_quarantine or entry == str(name)
                assert 0 <= name.generation <= MAX_NUMBER
                assert parse_name(str(name)) == name
    found = newest_first(entries)
    assert [n.generation for n in found] == sorted((n.generation for n in found), reverse=True)
    assert not set(given_up(entries)) & set(found)
    new = next_generation(entries, entries)
    assert all(new > name.generation for name in found)
    assert free_name(entries[0], entries) not in entries


def metadata(data: bytes) -> None:
    """The text of metadata, and what a save makes of what it says."""
    try:
        value = from_text(data.decode("utf-8", "replace"))
    except ValueError:
        return
    try:
        kept = snapshot(value)
    except (ValueError, TypeError):
        return
    assert from_text(to_text(kept)) == kept


def part_path(data: bytes) -> None:
    """A path: safe for a reader is exactly what a manifest takes."""
    path = data.decode("utf-8", "surrogateescape")
    good = is_safe_part_path(path)
    try:
        data = encode(Manifest(1, 1, "x", (Part(path, 1, _SHA),)))
    except UnicodeEncodeError:
        assert not good
        return
    try:
        decode(data)
    except ManifestError:
        assert not good
    else:
        assert good


def store_tree(data: bytes) -> None:
    """A directory that a tape has made: looked at in one way or another, and not changed."""
    tape = Tape(data)
    command, detail = tape.byte(), tape.byte()
    with _sandbox() as box:
        box.build(tape)
        before = photograph(box.store.parent)
        with watched(box, may_change=False) as disk:
            if command % 4 == 0:
                _load(disk, str(box.store), detail)
            elif command % 4 == 1:
                _inspect(disk, str(box.store), detail)
            else:
                _command(box, command // 4, detail)
        assert photograph(box.store.parent) == before


def _load(disk: WatchingDisk, store: str, detail: int) -> None:
    """What a reader offers to a program. Only what is documented is raised."""
    reader = Store(store, writable=False, disk=disk, workers=1)
    with contextlib.suppress(*_DOCUMENTED):
        loaded = reader.load_latest(hold=HOLDS[detail % 3])
        if loaded is not None:
            for part in loaded:
                assert len(loaded[part]) <= 1 << 21
                assert Path(store) in loaded.path(part).parents
    with contextlib.suppress(*_DOCUMENTED):
        reader.load(generation=detail % 8)
    with contextlib.suppress(*_DOCUMENTED):
        assert reader.all_steps() == sorted(reader.all_steps())
        reader.prune(LatestN(1) if detail & 8 else EverySeconds(1.0), dry_run=True)


def _inspect(disk: WatchingDisk, store: str, detail: int) -> None:
    """What the commands look at, on a disk whose every look is watched."""
    looks: tuple[Callable[[], object], ...] = (
        lambda: listed(disk, store),
        lambda: verified(disk, store, None),
        lambda: latest(disk, store, None),
        lambda: latest(disk, store, detail % 8),
        lambda: quarantined(disk, store),
        lambda: would_move_aside(disk, store, detail % 8),
        lambda: one_group(disk, store, detail % 8),
    )
    for look in looks:
        with contextlib.suppress(*_DOCUMENTED):
            look()


def _command(box: Sandbox, command: int, detail: int) -> None:
    """One command of the command line: a documented status, and no traceback."""
    number, store = str(detail % 8), str(box.store)
    commands = (
        ["ls", store],
        ["verify", store],
        ["latest", store],
        ["why", store],
        ["quarantine", store],
        ["show", store, number],
        ["diff", store, number, "2"],
        ["prune", store, "--keep-latest", "1", "--dry-run"],
        ["prune", store, "--keep-best", "loss:min:1", "--dry-run"],
        ["repair", store, "--dry-run"],
        ["doctor", store],
    )
    arguments = commands[command % len(commands)]
    as_json = command >= 32
    if as_json:
        arguments = [*arguments, "--json"]
    done = CliRunner().invoke(cli, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 1, 2, 3), done.output
    assert "\x1b" not in done.output
    if as_json:
        json.loads(done.stdout)


def store_writer(data: bytes) -> None:
    """The same directory, opened by a writer: nothing is lost, and the next save works."""
    tape = Tape(data)
    works = tape.take(4)
    with _sandbox() as box:
        box.build(tape)
        before, outside = _contents(box.store), _bytes(box.outside)
        given: set[bytes] = set()
        with watched(box, may_change=True) as disk, contextlib.suppress(*_DOCUMENTED):
            _work(disk, box, works, given)
        assert _bytes(box.outside) == outside
        _nothing_lost(before, _contents(box.store), given)


def _work(disk: WatchingDisk, box: Sandbox, works: bytes, given: set[bytes]) -> None:
    """A few turns of a writer; `given` are names whose content it may delete."""
    with open_store(box.store.parent, disk=disk) as store:
        for number, work in enumerate(works):
            with contextlib.suppress(*_DOCUMENTED):
                if work % 5 == 0:
                    store.load_latest(hold=HOLDS[work // 5 % 3])
                elif work % 5 == 1:
                    given |= _leftovers(box.store)
                    store.repair()
                elif work % 5 == 2:
                    given |= _leftovers(box.store) | _groups(box.store)
                    store.prune(LatestN(1 + work // 5 % 3))
                elif work % 5 == 3:
                    list(store.quarantined().values())
                else:
                    receipt = store.save(100 + number, {"model": b"new", "optim/adam": b"too"})
                    loaded = store.load()
                    assert loaded.generation == receipt.generation, "the save is not found"
                    assert bytes(loaded["model"]) == b"new"


def _leftovers(store: Path) -> set[bytes]:
    return {name for name in os.listdir(os.fsencode(store)) if name.startswith(b"pruned-")}


def _groups(store: Path) -> set[bytes]:
    return {name for name in os.listdir(os.fsencode(store)) if name.startswith(b"gen-")}


def _bytes(folder: Path) -> dict[bytes, object]:
    """What is in a folder; not when: whoever removes a hard link touches the file's inode."""
    return {
        path: (kind, size, data) for path, (kind, size, _, _, data) in photograph(folder).items()
    }


def _contents(store: Path) -> dict[bytes, list[bytes]]:
    """The files and links below each entry of the store and of its quarantine, by their bytes."""
    found: dict[bytes, list[bytes]] = {}
    root = os.fsencode(store)
    for path, (kind, size, inode, _, content) in photograph(store).items():
        if content is not None:
            names_below = path[len(root) + 1 :].split(b"/")
            # What is below the quarantine counts under the name that it had.
            if names_below[0] == b"quarantine" and len(names_below) > 1:
                names_below = names_below[1:]
            top = names_below[0].split(b".")[0]
            found.setdefault(top, []).append(b"%d %d %d" % (kind, size, inode))
    return found


def _nothing_lost(
    before: Mapping[bytes, list[bytes]], after: Mapping[bytes, list[bytes]], given: set[bytes]
) -> None:
    """Every file is there still, under its group's name, but for groups that were given up."""
    for top, files in before.items():
        if top not in given:
            lost = set(files) - set(after.get(top, []))
            assert not lost, (top, lost)


def paper_tree(data: bytes) -> None:
    """The source paper's form of a group, with bytes of a tape for its two records."""
    tape = Tape(data)
    commit, manifest = tape.blob(), tape.blob()
    with _sandbox() as box:
        home = (b"epoch_0001",)
        if tape.byte() % 2:
            digest = hashlib.sha256(manifest).hexdigest()
            commit = json.dumps({"manifest_sha256": digest}).encode()
        box.write((*home, b"COMMIT.json"), commit)
        box.write((*home, b"MANIFEST.json"), manifest)
        box.build(tape)
        before = photograph(box.store.parent)
        with watched(box, may_change=False) as disk, contextlib.suppress(OSError):
            paper.newest_valid(disk, str(box.store))
        assert photograph(box.store.parent) == before


@contextlib.contextmanager
def _sandbox() -> Iterator[Sandbox]:
    """A sandbox that is removed, in the folder for temporary files."""
    home = Path(tempfile.mkdtemp(prefix="lastgood-fuzz-"))
    try:
        yield Sandbox(home)
    finally:
        shutil.rmtree(home)


TARGETS: Final[Mapping[str, Target]] = {
    "manifest-bytes": manifest_bytes,
    "manifest-body": manifest_body,
    "manifest-values": manifest_values,
    "part-path": part_path,
    "metadata": metadata,
    "names": names,
    "store-tree": store_tree,
    "store-writer": store_writer,
    "paper-tree": paper_tree,
}
