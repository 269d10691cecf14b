"""Lazy search: what it answers of a file and a name is what enumeration finds there."""

from __future__ import annotations

from collections import Counter
from functools import partial

from powercut.crash.lazy_search import LazySearch, PartialState
from powercut.crash.space import CrashSpace
from powercut.crash.torn_writes import even_cuts
from powercut.filesystem.inodes import File, SymlinkInode, Tree, resolve
from tests.model.membership.near_trees import PIECES_MAX
from tests.model.membership.random_questions import PATHS, scenario

PROGRAMS = 80


def in_tree(tree: Tree, path: str) -> object:
    """What stands at a path, as a program would see it."""
    try:
        inode = tree[resolve(tree, path)]
    except OSError:
        return None
    return inode.content.look() if isinstance(inode, File) else "directory"


def looked_up(path: str, state: PartialState) -> object:
    """What the search finds at a path."""
    number = state.find(path)
    if number is None:
        return None
    inode = state.inode(number)
    if not isinstance(inode, File):
        return "directory"
    size, content = state.size(number), state.content(number)
    assert size == content.size
    return content.look()


def test_its_answers_are_those_of_all_crash_states() -> None:
    tally = Counter[int]()
    for number in range(PROGRAMS):
        asked = scenario(number, seed=2)
        if any(isinstance(inode, SymlinkInode) for inode in asked.state.view.values()):
            continue
        cuts = even_cuts(asked.profile, asked.pieces)
        space = CrashSpace.of(asked.state, asked.profile, asked.crash_class, cuts)
        if len(space.pieces) > PIECES_MAX:
            continue
        trees = [after.base for _, _, after in space.states()]
        for path in PATHS:
            expected = {in_tree(tree, path) for tree in trees}
            found = {answer for answer, _ in LazySearch(space).answers(partial(looked_up, path))}
            assert found == expected, (number, path, asked.program, asked.profile.name)
            tally[len(expected)] += 1
    assert tally[1] > 20
    assert sum(tally[n] for n in tally if n > 2) > 20
