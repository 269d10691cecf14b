"""Targets that are whole directories: made by a tape, looked at, and worked on by a writer.

Only what the documentation names is raised by the library; every other exception is a finding.
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

from click.testing import CliRunner, Result

from lastgood import EverySeconds, LatestN, Store
from lastgood.cli.changes import preview_clearing
from lastgood.cli.inspection import (
    find_group,
    find_latest,
    list_groups,
    report_quarantine,
    verify_groups,
)
from lastgood.cli.main import cli
from lastgood.crashtest import paper_protocol
from lastgood.errors import IntegrityError, NewerFormatError, StorageError, UsageError
from lastgood.format.digests import DigestUnavailableError, digest_of
from lastgood.format.lease_holder import NOTE_BEGINS
from lastgood.format.manifest import Manifest
from lastgood.format.names import GroupName, newest_first
from lastgood.parts.holding_reader import HOLDS
from tests.fuzz.newer import newer_groups
from tests.fuzz.tape import Tape
from tests.fuzz.trees import Sandbox
from tests.fuzz.watching import WatchingDisk, photograph, watched
from tests.impl.disks import open_store

_FELL_BACK: Final = "a load fell back past a newer version's group"
_DOCUMENTED: Final = (
    UsageError,
    IntegrityError,
    NewerFormatError,
    StorageError,
    DigestUnavailableError,
)


def store_tree(data: bytes) -> None:
    """A directory that a tape has made: looked at in one way or another, and not changed."""
    tape = Tape(data)
    command, detail = tape.byte(), tape.byte()
    with sandbox() as box:
        box.build(tape)
        before = photograph(box.store.parent)
        at_least = max((name.generation for name in _unjudged(box)), default=0)
        with watched(box, may_change=False) as disk:
            if command % 4 == 0:
                _load(disk, str(box.store), detail, at_least)
            elif command % 4 == 1:
                _inspect(disk, str(box.store), detail)
            else:
                _command(box, command // 4, detail)
        assert photograph(box.store.parent) == before


def _load(disk: WatchingDisk, store: str, detail: int, at_least: int) -> None:
    """What a reader offers to a program. Only what is documented is raised.

    `at_least` is the newest generation that a newer version has written.
    """
    reader = Store(store, writable=False, disk=disk, workers=1)
    with contextlib.suppress(*_DOCUMENTED):
        loaded = reader.load_latest(hold=HOLDS[detail % 3])
        if loaded is not None:
            assert loaded.generation >= at_least, _FELL_BACK
            for part in loaded:
                assert len(loaded[part]) <= 1 << 21
                assert Path(store) in loaded.path(part).parents
    with contextlib.suppress(*_DOCUMENTED):
        _read_ranges(reader, detail, at_least)
    with contextlib.suppress(*_DOCUMENTED):
        reader.load(generation=detail % 8)
    with contextlib.suppress(*_DOCUMENTED):
        assert reader.all_steps() == sorted(reader.all_steps())
        reader.prune(LatestN(1) if detail & 8 else EverySeconds(1.0), dry_run=True)
    with contextlib.suppress(*_DOCUMENTED):
        assert set(reader.reports()) <= set(reader.quarantined())


def _read_ranges(reader: Store, detail: int, at_least: int) -> None:
    """Some bytes of every part of a group that nothing has verified beforehand."""
    opened = reader.open_group(hold=HOLDS[detail % 3])
    if opened is None:
        return
    assert opened.generation >= at_least
    for part in opened:
        with contextlib.suppress(*_DOCUMENTED):
            start, size = detail % 16, detail % 7
            found = bytes(opened.read_range(part, start, size))
            # Its own `path` is refused, as nothing has verified the whole part.
            path = Path(opened.group.path, part)
            if size and path.stat().st_size < 1 << 21:
                data = path.read_bytes()
                assert found == data[start : start + size]
                assert is_vouched_for(opened.group.manifest, part, data, start, size)


def is_vouched_for(manifest: Manifest, path: str, data: bytes, start: int, size: int) -> bool:
    """Whether each chunk of a part that a range touches has its digest: the same, said plainly."""
    (part,) = (each for each in manifest.parts if each.path == path)
    if manifest.chunking is None or not part.chunks:
        return digest_of(data, manifest.algorithm) == part.digest
    cut = manifest.chunking
    digests = cut.digests(part.chunks)
    first, last = start // cut.chunk_bytes, (start + size - 1) // cut.chunk_bytes
    return all(
        digest_of(data[n * cut.chunk_bytes : (n + 1) * cut.chunk_bytes], cut.algorithm)
        == digests[n]
        for n in range(first, last + 1)
    )


def _inspect(disk: WatchingDisk, store: str, detail: int) -> None:
    """What the commands look at, on a disk whose every look is watched."""
    looks: tuple[Callable[[], object], ...] = (
        lambda: list_groups(disk, store),
        lambda: verify_groups(disk, store, None),
        lambda: find_latest(disk, store, None),
        lambda: find_latest(disk, store, detail % 8),
        lambda: report_quarantine(disk, store),
        lambda: preview_clearing(disk, store, detail % 8),
        lambda: find_group(disk, store, detail % 8),
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
    run_command(commands[command % len(commands)], as_json=command >= 32)


def run_command(arguments: list[str], *, as_json: bool) -> Result:
    """What a command does. AssertionError where its status or what it says is undocumented."""
    if as_json:
        arguments = [*arguments, "--json"]
    done = CliRunner().invoke(cli, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 1, 2, 3), done.output
    assert "\x1b" not in done.output
    if as_json:
        json.loads(done.stdout)
    return done


def store_writer(data: bytes) -> None:
    """The same directory, opened by a writer: nothing is lost, and the next save works."""
    tape = Tape(data)
    works = tape.take(4)
    with sandbox() as box:
        box.build(tape)
        before, outside = contents(box.store), _bytes(box.outside)
        unjudged = newer_groups(photograph(box.store), os.fsencode(box.store))
        at_least = max((name.generation for name in _unjudged(box)), default=0)
        given: set[bytes] = set()
        with watched(box, may_change=True) as disk, contextlib.suppress(*_DOCUMENTED):
            _work(disk, box, works, given, at_least)
        assert _bytes(box.outside) == outside
        nothing_lost(before, contents(box.store), given)
        after = newer_groups(photograph(box.store), os.fsencode(box.store))
        assert after.items() >= unjudged.items(), "what is not judged was touched"


def _work(disk: WatchingDisk, box: Sandbox, works: bytes, given: set[bytes], at_least: int) -> None:
    """A few turns of a writer; `given` are names whose content it may delete.

    `at_least` is the newest generation that a newer version has written.
    """
    with open_store(box.store.parent, disk=disk) as store:
        for number, work in enumerate(works):
            with contextlib.suppress(*_DOCUMENTED):
                if work % 5 == 0:
                    loaded = store.load_latest(hold=HOLDS[work // 5 % 3])
                    found = 0 if loaded is None else loaded.generation
                    assert found >= at_least, _FELL_BACK
                elif work % 5 == 1:
                    given |= _leftovers(box.store)
                    newest = store.repair().group
                    found = 0 if newest is None else newest.name.generation
                    assert found >= at_least, _FELL_BACK
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


def _unjudged(box: Sandbox) -> list[GroupName]:
    """The groups that a newer version has written."""
    homes = newer_groups(photograph(box.store), os.fsencode(box.store))
    return newest_first(os.fsdecode(os.path.basename(home)) for home in homes)


def _leftovers(store: Path) -> set[bytes]:
    return {name for name in os.listdir(os.fsencode(store)) if name.startswith(b"pruned-")}


def _groups(store: Path) -> set[bytes]:
    return {name for name in os.listdir(os.fsencode(store)) if name.startswith(b"gen-")}


def _bytes(folder: Path) -> dict[bytes, object]:
    """What is in a folder; not when: whoever removes a hard link touches the file's inode."""
    return {
        path: (kind, size, data) for path, (kind, size, _, _, data) in photograph(folder).items()
    }


def contents(store: Path) -> dict[bytes, list[bytes]]:
    """The files and links below each entry of the store and of its quarantine, by their bytes."""
    found: dict[bytes, list[bytes]] = {}
    root = os.fsencode(store)
    for path, (kind, size, inode, _, content) in photograph(store).items():
        # The note of a lease says something for as long as somebody has it.
        is_note = path.endswith(b"/lock") and (content or b"").startswith(NOTE_BEGINS)
        if content is not None and not is_note:
            names_below = path[len(root) + 1 :].split(b"/")
            # What is below the quarantine counts under the name that it had.
            if names_below[0] == b"quarantine" and len(names_below) > 1:
                names_below = names_below[1:]
            top = names_below[0].split(b".")[0]
            found.setdefault(top, []).append(b"%d %d %d" % (kind, size, inode))
    return found


def nothing_lost(
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
    with sandbox() as box:
        home = (b"epoch_0001",)
        if tape.byte() % 2:
            digest = hashlib.sha256(manifest).hexdigest()
            commit = json.dumps({"manifest_sha256": digest}).encode()
        box.write((*home, b"COMMIT.json"), commit)
        box.write((*home, b"MANIFEST.json"), manifest)
        box.build(tape)
        before = photograph(box.store.parent)
        with watched(box, may_change=False) as disk, contextlib.suppress(OSError):
            paper_protocol.newest_valid(disk, str(box.store))
        assert photograph(box.store.parent) == before


@contextlib.contextmanager
def sandbox() -> Iterator[Sandbox]:
    """A sandbox that is removed, in the folder for temporary files."""
    home = Path(tempfile.mkdtemp(prefix="lastgood-fuzz-"))
    try:
        yield Sandbox(home)
    finally:
        shutil.rmtree(home)
