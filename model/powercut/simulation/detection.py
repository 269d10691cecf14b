"""P7 on the model: what a recovery owes where groups were damaged at rest.

powercut knows no store's layout, so a group is found by what is in it.  The *home* of a save is the
entry of the store, a directory or a file right below STORE, in which each of its parts is found, in
full, in some file.  It is looked for when the save returns, or a recovery returns it, and what it
looked like then is what it looks like undamaged.  Whatever goes bad in there damages the save.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from powercut.filesystem import ops
from powercut.filesystem.inodes import Directory, File, Tree, walk
from powercut.simulation.oracle import LOOK_LIMIT_BYTES, Harm, Home, Oracle, Violation
from powercut.simulation.subject import STORE

Entries = Mapping[str, Mapping[str, int]]
"""The names in the store; of each, the paths that begin there, its own first, and their inodes."""


def settle_in(oracle: Oracle, tree: Tree, number: int) -> Oracle:
    """The oracle that knows the home of a save, which is in this tree if it is anywhere."""
    entries = entries_of(tree)
    name = next(iter(_holders(tree, entries, oracle.saves[number])), None)
    if name is None:
        return oracle
    inodes = frozenset(entries[name].values())
    return oracle.settle_in(number, Home(name, _look(tree, entries[name]), inodes))


def entries_of(tree: Tree) -> Entries:
    """The entries of the store; what cannot be read is there as well."""
    found: dict[str, dict[str, int]] = {}
    for path, number in walk(tree):
        if path.startswith(f"{STORE}/"):
            name = path.removeprefix(f"{STORE}/").partition("/")[0]
            found.setdefault(name, {})[path] = number
    return found


def undamaged_in(oracle: Oracle, tree: Tree) -> set[int]:
    """The undamaged saves that are at home in that tree, as they were."""
    entries = entries_of(tree)
    return {
        number
        for number, home in oracle.homes.items()
        if number not in oracle.damaged and _look(tree, entries.get(home.entry, {})) == home.look
    }


def left_in(oracle: Oracle, tree: Tree) -> list[int]:
    """The saves of whose home something is in that tree, damaged or moved as it may be."""
    if not oracle.homes:
        return []
    linked = frozenset(number for _, number in walk(tree))
    return [save for save, home in oracle.homes.items() if home.inodes & linked]


def possible_damage(oracle: Oracle, tree: Tree) -> Iterator[ops.Damage]:
    """Each kind of damage to each file of an undamaged save, and to its directories."""
    entries = entries_of(tree)
    for save in sorted(undamaged_in(oracle, tree)):
        for path, number in entries[oracle.homes[save].entry].items():
            inode = tree[number]
            if isinstance(inode, Directory):
                yield ops.Damage(path, "unreadable")
            elif isinstance(inode, File):
                yield from (ops.Damage(path, how) for how in ops.HARMS if inode.content.size)


def damage(oracle: Oracle, tree: Tree, op: ops.Damage) -> Oracle:
    """The oracle after that damage, of which `tree` is what was there before.

    What a crash had already torn was no group at rest.
    """
    whole = {number: oracle.homes[number].entry for number in undamaged_in(oracle, tree)}
    harms = {
        number: Harm(entry, op.path, op.how == "unreadable")
        for number, entry in whole.items()
        if _one_in_the_other(op.path, f"{STORE}/{entry}")
    }
    entries = entries_of(tree)
    held = [n for n, parts in oracle.saves.items() if any(_holders(tree, entries, parts))]
    return oracle.damage(harms, held)


def judge_answer(
    oracle: Oracle,
    before: Tree,
    parts: Mapping[str, bytes] | None,
    passed_over: Mapping[str, str] | None,
) -> list[Violation]:
    """What a recovery breaks by answering so of the store as it was before.

    `passed_over` names the entries that it rejected, each with a reason; None where nobody could
    have said so.
    """
    if not oracle.damaged:
        return []
    number = oracle.number_of(parts)
    newest = max(undamaged_in(oracle, before), default=0)
    found = []
    if number is None:
        found.append("recovery handed out what no save wrote, and something is damaged")
    elif number < newest:
        got = f"save {number}" if number else "nothing"
        found.append(f"recovery returned {got}; save {newest} is there, undamaged")
    there = dict(walk(before))
    for damaged, harm in sorted(oracle.damaged.items()):
        is_newer = damaged > (number or 0) and harm.path in there
        if is_newer and passed_over is not None and not passed_over.get(harm.entry):
            found.append(f"recovery did not report {harm.entry}: save {damaged} is damaged there")
    return [Violation("P7", what) for what in found]


def judge_tree(oracle: Oracle, before: Tree, after: Tree, more: Collection[int]) -> list[Violation]:
    """What a recovery breaks by what it has changed, to its end or until it died.

    `more` are saves that the store may have by then, and that let it give up older ones.
    """
    if not oracle.damaged:
        return []
    owed = oracle.keeping(*more)
    found = [
        f"recovery changed {oracle.homes[number].entry}, where save {number} was, undamaged"
        for number in sorted(undamaged_in(oracle, before) - undamaged_in(oracle, after))
        if number in owed
    ]
    paths, paths_now = dict(walk(before)), dict(walk(after))
    for number, harm in sorted(oracle.damaged.items()):
        was = paths.get(harm.path)
        if harm.unreadable and number in owed and was not in (None, paths_now.get(harm.path)):
            found.append(f"recovery moved {harm.path}, which cannot be read")
    return [Violation("P7", what) for what in found]


def _one_in_the_other(path: str, other: str) -> bool:
    return f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/")


def _holders(tree: Tree, entries: Entries, parts: Mapping[str, bytes]) -> Iterator[str]:
    """The entries in which each of the parts is found in some file."""
    for name, entry in entries.items():
        inodes = [tree[number] for number in entry.values()]
        contents = [inode.content for inode in inodes if isinstance(inode, File)]
        files = [content.read() for content in contents if content.size <= LOOK_LIMIT_BYTES]
        if all(any(part in content for content in files) for part in parts.values()):
            yield name


def _look(tree: Tree, entry: Mapping[str, int]) -> tuple[tuple[str, object], ...]:
    """The look of an entry: its paths, with the contents of files."""
    inodes = ((path, tree[number]) for path, number in entry.items())
    return tuple((path, i.content.look() if isinstance(i, File) else None) for path, i in inodes)
