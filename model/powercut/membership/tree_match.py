"""Asking: one observed tree held against one prepared space.

From the root down it finds which inode each observed one is, and lays down what the observed names,
sizes and bytes demand; the deduction does the rest, and what it could not reconcile is put into
words here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from attrs import define, field

from powercut.crash.downsets import bits
from powercut.filesystem.events import Entry
from powercut.filesystem.inodes import ROOT, Directory, File, SymlinkInode
from powercut.membership.constraint_index import ConstraintIndex
from powercut.membership.content_match import Cuttings
from powercut.membership.observed_tree import Observed
from powercut.membership.solver import IN, OUT, Contradiction, LastWriter, Reason, Solver

_KINDS: Final = {File: "file", Directory: "directory", SymlinkInode: "symbolic link"}


@define(eq=False)
class TreeMatch:
    """One observed tree held against one prepared space."""

    prepared: ConstraintIndex
    tree: Observed
    budget: int
    _deduction: Solver = field(init=False)

    def landed(self, clashes: list[str]) -> int | None:
        """One set of landed pieces that leaves the tree; None, and why, where there is none.

        Spent, when the budget is.
        """
        prepared, logged = self.prepared, self.prepared.space.bound.logged
        flags = bytearray(len(prepared.start))
        for event in bits(logged):
            flags[event] = 1
        work = self._deduction = Solver(
            prepared.need,
            prepared.needed,
            bytearray(prepared.start),
            bytes(flags),
            [None] * len(self.tree.nodes),
            self._enter,
            self._tell,
            self.budget,
        )
        possible = work.solve(lambda: work.narrow(0, (ROOT,), lambda: "the root is no directory"))
        self.budget = work.budget
        clashes += work.clashes
        if not possible:
            return None
        size = len(prepared.space.pieces)
        return sum(1 << e for e in range(size) if work.value[e] == IN) | logged

    def cuts(self, spans: Mapping[int, Sequence[tuple[int, int]]]) -> Cuttings:
        """Where events may have been torn, for every inode that an observed file may be."""
        torn: dict[str, set[int]] = {}
        profile = self.prepared.space.profile
        todo, seen = [(0, ROOT)], {(0, ROOT)}
        while todo:
            number, inode = todo.pop()
            node = self.tree.nodes[number]
            if node.content is not None:
                past, given = self.prepared.past(inode), spans.get(inode, ())
                for name, places in past.cuts(node.content, profile, given).items():
                    torn.setdefault(name, set()).update(places)
            listing = self.prepared.listing(inode)
            for name, child in (node.entries or {}).items():
                meaning = listing.open.get(name)
                targets = {listing.certain.get(name)}
                if meaning is not None:
                    targets = {*meaning.targets, meaning.base}
                for target in targets - {None}:
                    pair = (child, target)
                    if pair not in seen and self._is_kind(child, target):  # type: ignore[arg-type]
                        seen.add(pair)  # type: ignore[arg-type]
                        todo.append(pair)  # type: ignore[arg-type]
        return {name: sorted(places) for name, places in torn.items()}

    def _is_kind(self, node: int, inode: int) -> bool:
        return self.tree.nodes[node].kind == _KINDS[type(self.prepared.inode(inode))]

    def _enter(self, node: int, inode: int) -> None:
        """An observed inode is this one of the model: lay down what it demands."""
        seen = self.tree.nodes[node]
        if seen.content is not None:
            for demand in self.prepared.fit(inode, seen.content).demands:
                fact = _fact(seen.path, demand.what)
                last = LastWriter(demand.events, demand.allowed, demand.base, fact)
                self._deduction.install(last)
        if seen.entries is None:
            return
        listing = self.prepared.listing(inode)
        matched = 0
        for name, child in seen.entries.items():
            path = self.tree.nodes[child].path
            if name in listing.certain:
                matched += 1
                self._mean(child, (listing.certain[name],), _fact(path, _is_there))
                continue
            meaning = listing.open.get(name)
            fact = _fact(path, _is_there)
            if meaning is None:
                raise Contradiction(_nobody_gave(path))
            inodes = {*meaning.targets, meaning.base} - {None}
            self._mean(child, inodes, fact)  # type: ignore[arg-type]
            self._deduction.install(
                LastWriter(meaning.events, meaning.targets, meaning.base, fact, child)
            )
        if matched < len(listing.certain):
            missing = next(name for name in listing.certain if name not in seen.entries)
            raise Contradiction(lambda: self._missing(seen.path, inode, missing))
        for name, meaning in listing.open.items():
            if name not in seen.entries:
                free = [target is None for target in meaning.targets]
                fact = _fact(_join(seen.path, name), _is_missing)
                last = LastWriter(meaning.events, free, meaning.base is None, fact)
                self._deduction.install(last)

    def _mean(self, node: int, inodes: Iterable[int], fact: Callable[[], str]) -> None:
        """A node is one of these inodes: of those, the ones that it can be."""
        before = self._deduction.meanings[node]
        left = [i for i in inodes if before is None or i in before]
        fitting = [i for i in left if self._differs(node, i) is None]
        if fitting:
            self._deduction.narrow(node, fitting, fact)
            return
        if left:
            raise Contradiction(self._differs(node, max(left)) or fact)
        raise Contradiction(
            lambda: f"{fact()}; but that is not the inode it has under another name"
        )

    def _differs(self, node: int, inode: int) -> Callable[[], str] | None:
        """Why a node cannot be this inode, whatever has landed; None where it can."""
        seen, held = self.tree.nodes[node], self.prepared.inode(inode)
        kind = _KINDS[type(held)]
        if seen.kind != kind:
            return lambda: f"{seen.path} is a {seen.kind}; but the program made a {kind} of it"
        if isinstance(held, SymlinkInode) and held.target != seen.target:
            said = held.target
            return lambda: f"{seen.path} says {seen.target!r}; but the program let it say {said!r}"
        if seen.content is not None:
            wrong = self.prepared.fit(inode, seen.content).wrong
            if wrong is not None:
                return lambda: f"{seen.path} {wrong()}; but no event that can land leaves that"
        return None

    def _missing(self, path: str, directory: int, name: str) -> str:
        """A name that has to be there is not."""
        there = [
            position
            for position, piece in enumerate(self.prepared.space.pieces)
            if isinstance(piece.event, Entry)
            and (piece.event.directory, piece.event.entry) == (directory, name)
            and self.prepared.landed >> position & 1
        ]
        text = f"{_join(path, name)} is missing; but "
        if not there:
            return text + "it was there before the program began, and nothing takes it away"
        return text + self._tell(there[-1], IN, None)

    def _tell(self, event: int, value: int, why: Reason) -> str:
        """Why an event landed or did not, in words."""
        name, profile = self._name(event), self.prepared.space.profile.name
        if isinstance(why, LastWriter):
            what = "has landed" if value == IN else "has not landed"
            return f"{name} {what}, because {why.fact()}"
        if isinstance(why, int):
            return self._tell_chain(event, value, why)
        if value == OUT:
            return f"{name} can never land under {profile}"
        return f"{name} is durable: a sync of it had returned"

    def _tell_chain(self, event: int, value: int, why: int) -> str:
        """Why an event landed, or did not, with another that was the first to."""
        reasons, root = self._deduction.why, why
        while isinstance(next_one := reasons[root], int):
            root = next_one
        story = self._tell(root, value, reasons[root])
        name, other = self._name(event), self._name(root)
        if value == IN:
            rule = self.prepared.why_needs(why, event)
            return f"{name} has landed, for {rule} puts it before {other}; {story}"
        rule = self.prepared.why_needs(event, why)
        return f"{name} has not landed, for {rule} puts it behind {other}; {story}"

    def _name(self, event: int) -> str:
        pieces = self.prepared.space.pieces
        return pieces[event].name if event < len(pieces) else "what a barrier covers"


def _fact(path: str, what: Callable[[], str]) -> Callable[[], str]:
    return lambda: f"{path} {what()}"


def _nobody_gave(path: str) -> Callable[[], str]:
    return lambda: f"{path} is there; but nothing that can have landed gives that name"


def _is_there() -> str:
    return "is there"


def _is_missing() -> str:
    return "is missing"


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
