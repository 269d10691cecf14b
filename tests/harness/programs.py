"""Strategies: small programs of ops over few names, so that ops meet each other, and fail.

Ops come in families, and a test says which it wants.  `any_op` knows nothing of the moment, and
most of its ops fail; `fitting_op` takes names that mean something at the moment, and most succeed.
Symbolic links say relative targets, none of which leads above the root: the same programs run for
real in a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from attrs import frozen
from hypothesis import strategies as st

from powercut.filesystem import ops
from powercut.filesystem.content import Fill
from powercut.filesystem.inodes import Directory, File, SymlinkInode, locate
from powercut.filesystem.state import State
from powercut.profile import Claim, Profile
from powercut.rules import RULES

PATHS: Final = ("/a", "/b", "/d", "/d/a", "/d/e", "/d/e/a")
"""Few names, so that ops meet each other; `/d/e/a` needs two directories."""

TARGETS: Final = ("a", "b", "d", "d/a", "e", "e/a", "d/e", "d/..")
"""What links say. All lead down but for one, which comes back from below: none leads out."""

CARRIERS: Final = {"scope": ("commit", "log"), "atomic": ("both", "commit")}
"""What can carry the claims to a rule of a kind."""

HANDLES: Final = ("h", "g")

Strategy = st.SearchStrategy[ops.Op]

contents = st.sampled_from((b"x", b"yz", b"abcd", b"0123456789"))
offsets = st.integers(0, 6)
sizes = st.integers(0, 12)
waiting = st.sampled_from((("O_SYNC",), ("O_DSYNC",)))
units = st.sampled_from(((1, 1), (4, 2), (4, 4), (4096, 512), (4096, 4096)))
"""Blocks and sectors, in bytes: those of the built-in profiles, and some that cut short writes."""


@frozen
class Scene:
    """The names by what they mean at one moment; `open` are the handles of files."""

    free: tuple[str, ...]
    files: tuple[str, ...]
    folders: tuple[str, ...]
    links: tuple[str, ...]
    open: tuple[str, ...]

    @classmethod
    def of(cls, state: State) -> Scene:
        """What the names mean in this state; what cannot be reached is left out."""
        found: dict[type, list[str]] = {File: [], Directory: [], SymlinkInode: [], type(None): []}
        for path in PATHS:
            try:
                inode = locate(state.view, path, follow=False).inode
            except OSError:
                continue
            found[type(None if inode is None else state.view[inode])].append(path)
        return cls(
            tuple(found[type(None)]),
            tuple(found[File]),
            tuple(found[Directory]),
            tuple(found[SymlinkInode]),
            tuple(
                sorted(n for n, h in state.handles.items() if isinstance(state.view[h.inode], File))
            ),
        )


ANYTHING: Final = Scene(PATHS, PATHS, PATHS, PATHS, HANDLES)


def _of(*names: Iterable[str]) -> st.SearchStrategy[str]:
    chosen = tuple(dict.fromkeys(name for some in names for name in some))
    return st.sampled_from(chosen) if chosen else st.nothing()


def _held(scene: Scene) -> st.SearchStrategy[str]:
    return _of(f"@{name}" for name in scene.open)


def _flags(known: frozenset[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(sorted(known))).map(lambda chosen: tuple(sorted(chosen)))


def _names(scene: Scene) -> list[Strategy]:
    named = _of(scene.files, scene.folders, scene.links)
    return [
        st.builds(ops.Create, _of(scene.free)),
        st.builds(ops.Mkdir, _of(scene.free)),
        st.builds(ops.Rename, named, _of(PATHS)),
        st.builds(ops.Link, _of(scene.files, scene.links), _of(scene.free)),
        st.builds(ops.Unlink, _of(scene.files, scene.links)),
        st.builds(ops.Rmdir, _of(scene.folders)),
    ]


def _data(scene: Scene) -> list[Strategy]:
    where = _of(scene.files, scene.links)
    return [
        st.builds(ops.Write, where, offsets, contents),
        st.builds(ops.Append, where, contents),
        st.builds(ops.Truncate, where, sizes),
    ]


def _syncs(scene: Scene) -> list[Strategy]:
    places = _of(scene.files, scene.folders, ("/",))
    return [st.builds(ops.Fsync, places), st.builds(ops.Fdatasync, places), st.builds(ops.Sync)]


def _waiting(scene: Scene) -> list[Strategy]:
    return [
        st.builds(ops.Write, _of(scene.files), offsets, contents, waiting),
        st.builds(ops.Append, _of(scene.files), contents, waiting),
    ]


def _handles(scene: Scene) -> list[Strategy]:
    new = st.sampled_from((("O_CREAT",), ("O_APPEND", "O_CREAT"), ("O_CREAT", "O_EXCL")))
    old = st.one_of(st.sampled_from(((), ("O_RDONLY",))), _flags(ops.OPEN_FLAGS - {"O_DIRECT"}))
    handles, held = st.sampled_from(HANDLES), _held(scene)
    return [
        st.builds(ops.Open, _of(scene.files, scene.folders, scene.links), handles, old),
        st.builds(ops.Open, _of(scene.free, scene.links), handles, new),
        st.builds(ops.Tmpfile, _of(scene.folders, ("/",)), handles),
        st.builds(ops.Close, _of(scene.open)),
        st.builds(ops.Write, held, offsets, contents),
        st.builds(ops.Append, held, contents),
        st.builds(ops.Truncate, held, sizes),
        st.builds(ops.Link, held, _of(scene.free)),
        st.builds(ops.Fsync, held),
    ]


def _links(scene: Scene) -> list[Strategy]:
    return [st.builds(ops.Symlink, st.sampled_from(TARGETS), _of(scene.free))]


def _rename_flags(scene: Scene) -> list[Strategy]:
    named = _of(scene.files, scene.folders, scene.links)
    return [
        st.builds(ops.Rename, named, _of(scene.free), st.just(("NOREPLACE",))),
        st.builds(ops.Rename, named, named, st.just(("EXCHANGE",))),
    ]


def _maps(scene: Scene) -> list[Strategy]:
    where = st.one_of(_of(scene.files), _held(scene))
    return [
        st.builds(ops.Mapwrite, where, offsets, contents),
        st.builds(ops.Msync, where, offsets, st.integers(1, 12)),
    ]


def _direct(scene: Scene) -> list[Strategy]:
    starts, sectors = st.sampled_from((0, 512, 1024)), st.sampled_from((512, 1024))
    data = st.one_of(st.builds(Fill, st.integers(1, 9), sectors), contents)
    where, flags = st.one_of(_of(scene.files), _held(scene)), st.just(("O_DIRECT",))
    opened = st.sampled_from((("O_DIRECT",), ("O_CREAT", "O_DIRECT"), ("O_DIRECT", "O_RDONLY")))
    named = _of(scene.files, scene.folders, scene.links)
    return [
        st.builds(ops.Open, named, st.sampled_from(HANDLES), opened),
        st.builds(ops.Write, where, st.one_of(starts, offsets), data, flags),
        st.builds(ops.Append, where, data, flags),
    ]


def _mac(scene: Scene) -> list[Strategy]:
    places = _of(scene.files, scene.folders, ("/",))
    return [st.builds(ops.Barrier, places), st.builds(ops.Fullsync, places)]


def _failing(scene: Scene) -> list[Strategy]:
    return [
        st.builds(ops.Fsync, st.one_of(_of(scene.files), _held(scene)), st.just(True)),
        st.builds(ops.Fdatasync, _of(scene.files), st.just(True)),
    ]


def _odd(scene: Scene) -> list[Strategy]:
    """What the kernel refuses whatever the names mean, and the root where a name is wanted."""
    places = _of(("/",), PATHS)
    anything = st.one_of(places, _of(f"@{name}" for name in HANDLES))
    return [
        st.builds(ops.Create, places),
        st.builds(ops.Mkdir, places),
        st.builds(ops.Unlink, places),
        st.builds(ops.Link, places, places),
        st.builds(ops.Rename, places, places, _flags(ops.RENAME_FLAGS)),
        st.builds(ops.Open, places, st.sampled_from(HANDLES), _flags(ops.OPEN_FLAGS)),
        st.builds(ops.Write, anything, st.just(-1), contents),
        st.builds(ops.Truncate, anything, st.just(-1)),
        st.builds(ops.Symlink, st.just(""), places),
    ]


_FAMILIES: Final[Mapping[str, Callable[[Scene], list[Strategy]]]] = {
    "names": _names,
    "data": _data,
    "syncs": _syncs,
    "waiting": _waiting,
    "handles": _handles,
    "links": _links,
    "rename flags": _rename_flags,
    "maps": _maps,
    "direct": _direct,
    "mac": _mac,
    "failing": _failing,
    "odd": _odd,
}

FAMILIES: Final = tuple(_FAMILIES)
"""The families of ops; no op of "odd" is meant to succeed."""

USUAL: Final = tuple(family for family in FAMILIES if family != "odd")


@lru_cache(maxsize=4096)
def _ops_in(scene: Scene, families: tuple[str, ...]) -> Strategy:
    return st.one_of([op for family in families for op in _FAMILIES[family](scene)])


def any_op(*families: str) -> Strategy:
    """One op of those families, or of all of them, whether it makes sense or not."""
    return _ops_in(ANYTHING, families or FAMILIES)


def fitting_op(state: State, *families: str) -> Strategy:
    """One op of those families, or of the usual ones, on names that fit it in this state."""
    return _ops_in(Scene.of(state), families or USUAL)


_FILES: Final[list[ops.Op]] = [ops.Mkdir("/d"), ops.Create("/a"), ops.Write("/a", 0, b"old")]
_LINKS: Final[list[ops.Op]] = [ops.Mkdir("/d/e"), ops.Symlink("d/e", "/b"), ops.Link("/a", "/d/a")]

setups: Final = st.sampled_from(([], _FILES, [*_FILES, *_LINKS]))
"""What may be there before a program begins."""


def performed(state: State, program: Iterable[ops.Op]) -> State:
    """The state after those ops; those that the kernel would refuse are left out."""
    for op in program:
        try:
            state = state.perform(op, f"{len(state.syncs)}-{ops.op_name(op)}")
        except OSError:
            continue
    return state


@st.composite
def states(draw: st.DrawFn, max_ops: int = 5, *families: str, unfinished: bool = False) -> State:
    """A state that a short program leaves; ops that the kernel would refuse are left out.

    With `unfinished`, a sync may have begun and not returned.
    """
    state = performed(State(), draw(setups))
    state = State.settled(state.view, state.next_inode)
    for _ in range(draw(st.integers(0, max_ops))):
        state = performed(state, [draw(fitting_op(state, *families))])
    if unfinished and draw(st.booleans()):
        try:
            return state.begin(draw(fitting_op(state, "syncs", "waiting")), "last")
        except OSError:
            return state
    return state


@st.composite
def claims(draw: st.DrawFn, rule_id: str) -> Claim:
    """A claim to a rule, landing by any carrier that its kind knows."""
    rule = RULES[rule_id]
    carrier = draw(st.sampled_from(CARRIERS.get(rule.kind, ("",))))
    return Claim(rule, "assumed", "trial", carrier=carrier)


@st.composite
def profiles(draw: st.DrawFn, max_rules: int = 8) -> Profile:
    """A file system that nobody has built: any rules, in any units."""
    chosen = draw(st.sets(st.sampled_from(sorted(RULES)), max_size=max_rules))
    block, sector = draw(units)
    claimed = tuple(draw(claims(rule)) for rule in sorted(chosen))
    return Profile("trial", "a trial", block, claimed, sector_bytes=sector)
