"""The rules of a profile as constraints on which pieces of one moment have landed.

What comes out is arithmetic on sets of pieces: who requires whom, what has landed for sure and by
which carrier, what never lands.  space.py searches it.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from powercut.crash.catalog import Catalog
from powercut.crash.downsets import bits, downset_of
from powercut.crash.fast_order_rules import immediate
from powercut.crash.fast_scope_rules import covered
from powercut.filesystem.events import Extent, Piece
from powercut.filesystem.state import State
from powercut.filesystem.syncs import SyncCall, concurrent
from powercut.profile import Claim, Profile
from powercut.rule import Kind
from powercut.rules import RULES


@frozen
class Constraints:
    """The constraints of one moment, one profile and one crash class, on pieces by position.

    `requires[p]` are the immediate predecessors of p in the order that binds the commit, and
    `together[p]` the pieces of its atomic group where that binds the log as well.  `durable` landed
    by commit for sure and `logged` by a log.  `never` cannot land.  `abandoned` are data that a
    failed sync marked clean.  `synced` are those of `durable` that a sync covers itself: the others
    are durable because these need them.
    """

    pieces: tuple[Piece, ...]
    requires: list[int]
    together: list[int]
    durable: int
    logged: int
    never: int
    stale_allowed: int
    abandoned: int
    synced: int


def constraints_for(
    pieces: tuple[Piece, ...], state: State, profile: Profile, crash_class: str
) -> Constraints:
    """The constraints on these pieces. O(pieces x rules), and pairs only within one file."""
    if _asks_what_was_sent(profile, crash_class):
        pieces = _sent(pieces, state, profile)
    catalog = Catalog(pieces, state.thread_slots)
    abandoned = _abandoned(state, catalog)
    requires, together = _bound(profile, crash_class, catalog, abandoned)
    _free(requires, together, _permitted("unordered", state, catalog, profile, crash_class))
    never = _matching(pieces, profile, "ceiling", crash_class)
    durable, logged = _synced(state, catalog, profile, crash_class)
    _barriers(requires, state, catalog, profile, crash_class, abandoned)
    if never:
        lost = upset_of(never, requires)
        durable, logged = durable & ~lost, logged & ~lost
    logged = downset_of(logged, together)
    return Constraints(
        pieces,
        requires,
        together,
        downset_of(durable, requires),
        logged,
        never,
        catalog.everything & ~_matching(pieces, profile, "exposure", crash_class),
        abandoned,
        durable,
    )


def upset_of(events: int, requires: Sequence[int]) -> int:
    """The events that need one of `events`, themselves included."""
    found, before = events, 0
    while found != before:  # once more where something needs what was issued after it
        before = found
        for event, needed in enumerate(requires):
            if needed & found:
                found |= 1 << event
    return found


def _bound(
    profile: Profile, crash_class: str, catalog: Catalog, abandoned: int
) -> tuple[list[int], list[int]]:
    """What each piece requires, and what it lands together with.

    Abandoned data are written by nobody: what comes after them does not wait for them.
    """
    size = len(catalog.pieces)
    requires, together = [0] * size, [0] * size
    free = [p for p in range(size) if not abandoned >> p & 1]
    bound = (
        catalog
        if not abandoned
        else Catalog([catalog.pieces[p] for p in free], catalog.thread_slots)
    )
    for claim in profile.of_kind("atomic", crash_class):
        for one, other in immediate(claim.rule, bound):
            requires[free[other]] |= 1 << free[one]
            if claim.carrier == "both":
                together[free[other]] |= 1 << free[one]
    for claim in profile.of_kind("order", crash_class):
        for earlier, later in immediate(claim.rule, bound):
            requires[free[later]] |= 1 << free[earlier]
    return requires, together


def _permitted(
    promise: str, state: State, catalog: Catalog, profile: Profile, crash_class: str
) -> int:
    """The pieces that a permission speaks of: the last sync gives what those before it gave."""
    claims = _by_sync(profile.of_kind("scope", crash_class), promise)
    last = next((sync for sync in reversed(state.syncs) if sync.kind in claims), None)
    mask = 0
    if last is not None:
        for claim in claims[last.kind]:
            mask |= covered(claim.rule, last, catalog)
    return mask


def _free(requires: list[int], together: Sequence[int], unordered: int) -> None:
    """Let these land by themselves, with what the log keeps together with them.

    What comes after one of them still waits for all that came before it.
    """
    for piece in bits(unordered):
        for other, needed in enumerate(requires):
            if needed >> piece & 1:
                requires[other] |= requires[piece] & ~(1 << other)
    for piece in bits(unordered):
        requires[piece] = together[piece]


def _synced(state: State, catalog: Catalog, profile: Profile, crash_class: str) -> tuple[int, int]:
    """The pieces that the syncs so far have made durable: by commit, and by a log."""
    durable = logged = abandoned = 0
    claims = _by_sync(profile.of_kind("scope", crash_class), "durable")
    withdrawn = _by_sync(profile.of_kind("scope", crash_class), "withdrawn")
    failed = [sync for sync in state.syncs if sync.kind == "failed"]
    for sync in state.syncs:
        for claim in withdrawn.get(sync.kind, ()):
            logged &= ~covered(claim.rule, sync, catalog)
        if sync.kind == "failed":
            abandoned |= _dirty_data(sync, catalog) & ~(durable | logged)
        contested = 0  # abandoned at the same time: nobody says which of the two was first
        for other in failed:
            if concurrent(state.thread_slots, sync.op, other.op):
                contested |= _dirty_data(other, catalog)
        for claim in claims.get(sync.kind, ()):
            # No sync is known to bring the zeros that a direct write owes: ext4 never writes them.
            mask = covered(claim.rule, sync, catalog) & ~(abandoned | contested | catalog.owed)
            durable |= mask if claim.carrier == "commit" else 0
            logged |= mask if claim.carrier == "log" else 0
    return durable, logged


def _barriers(
    requires: list[int],
    state: State,
    catalog: Catalog,
    profile: Profile,
    crash_class: str,
    abandoned: int,
) -> None:
    """Let everything issued after a barrier require what the barrier covers.

    Nobody waits for data that a failed sync abandoned.
    """
    claims = _by_sync(profile.of_kind("scope", crash_class), "ordered")
    for sync in state.syncs if claims else ():
        for claim in claims.get(sync.kind, ()):
            mask = covered(claim.rule, sync, catalog) & ~(abandoned | catalog.owed)
            later = catalog.everything & ~catalog.before(sync.position)
            for position, piece in enumerate(catalog.pieces):
                issued_later = later >> position & 1
                if issued_later and not concurrent(state.thread_slots, sync.op, piece.event.op):
                    requires[position] |= mask


def _by_sync(claims: Sequence[Claim], promise: str) -> dict[str, list[Claim]]:
    found: dict[str, list[Claim]] = {}
    for claim in claims:
        if claim.rule.promise == promise:
            for kind in claim.rule.on:
                found.setdefault(kind, []).append(claim)
    return found


def _dirty_data(sync: SyncCall, catalog: Catalog) -> int:
    """The data of the synced file that were issued before the sync."""
    mask = 0
    for position, piece in enumerate(catalog.pieces):
        if isinstance(piece.event, Extent) and piece.event.inode == sync.inode:
            mask |= 1 << position
    return mask & catalog.before(sync.position)


def _abandoned(state: State, catalog: Catalog) -> int:
    """The data that some sync abandoned: no order binds them, whether they had landed or not."""
    mask = 0
    for sync in state.syncs:
        if sync.kind == "failed":
            mask |= _dirty_data(sync, catalog)
    return mask


def _asks_what_was_sent(profile: Profile, crash_class: str) -> bool:
    return any(claim.rule.needs_sent and crash_class in claim.classes for claim in profile.claims)


def _sent(pieces: tuple[Piece, ...], state: State, profile: Profile) -> tuple[Piece, ...]:
    """The pieces with the number of the first sync that handed each to the drive, or was about to.

    That is an fsync of its file, or a sync which makes it survive a crash of the kernel.
    """
    sent: dict[int, SyncCall] = {}
    unsent = tuple(evolve(piece, sent=None) for piece in pieces)
    catalog = Catalog(unsent, state.thread_slots)
    kept = (claim.rule for claim in profile.of_kind("scope", "kernel"))
    # To hand a file's bytes over is one thing, to keep them through a crash another: the profile
    # may doubt that.
    rules = [RULES["fsync-data"], *(rule for rule in kept if rule.promise == "durable")]
    for sync in state.syncs:
        for mask in (covered(rule, sync, catalog) for rule in rules if sync.kind in rule.on):
            for position in bits(mask):
                sent.setdefault(position, sync)
    return tuple(
        evolve(piece, sent=by.number, sender=by.op) if (by := sent.get(position)) else piece
        for position, piece in enumerate(unsent)
    )


def _matching(pieces: Sequence[Piece], profile: Profile, kind: Kind, crash_class: str) -> int:
    """The pieces that some exposure or ceiling rule of the profile speaks of."""
    mask = 0
    for rule in profile.rules(kind, crash_class):
        for position, piece in enumerate(pieces):
            if rule.holds(piece):
                mask |= 1 << position
    return mask
