"""The contents that a crash could leave on the recorded disk: all prefixes, and bounded losses.

A kernel crash lets the drive finish: it leaves a prefix of the log.  A power cut also loses
writes of the open flush epoch, one by one, in any mixture or in part; those are far too many,
so they are bounded, spread evenly where a bound bites, and counted: what was tried of each
kind, and how many there are.  The same log and bounds give the same images in the same order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final, Literal, TypeVar

from attrs import field, frozen

from powercut_rig.blocks.block_log import (
    SECTOR_BYTES,
    BlockLog,
    LoggedFlush,
    LoggedMark,
    LoggedWrite,
    ProgramProgress,
    Recipe,
    Replay,
    Torn,
)

_Item = TypeVar("_Item")

_FEW_TEARS: Final = 5
_TEAR_UNITS: Final = (SECTOR_BYTES, 4096)


RecipeKind = Literal["prefix", "all lost", "drop", "pair", "landing", "subset", "torn"]
"""How a recipe departs from the log; docs/rig.md says each in a sentence."""

COUNTED_MAX: Final = 10**12
"""Where an epoch has more subsets than this, it is counted as having this many."""


@frozen
class Bounds:
    """Bounds on the losses tried at each write of the log, beside the prefix that ends there.

    `singles`: writes of the epoch lost alone; `pairs`: two lost together; `tears`: ways in
    which the newest write lands in part; `older_tears`: earlier writes that land in part;
    `alone`: also the newest write landing with all the rest of its epoch lost, and nothing of
    the epoch landing.  `subsets`: random mixtures for each epoch, drawn with `seed`.  A write
    tears between units of `atomic_unit_bytes`, the drive's promise (512 or 4096), and not inside
    of a range of bytes of the disk that `whole` names.
    """

    singles: int = field(default=6)
    pairs: int = field(default=4)
    tears: int = field(default=3)
    older_tears: int = field(default=1)
    alone: bool = True
    subsets: int = field(default=8)
    seed: int = 0
    atomic_unit_bytes: int = field(default=SECTOR_BYTES)
    whole: tuple[tuple[int, int], ...] = ()

    @singles.validator
    @pairs.validator
    @tears.validator
    @older_tears.validator
    @subsets.validator
    def _not_negative(self, attribute: object, value: int) -> None:
        if value < 0:
            name = getattr(attribute, "name", "bound")
            raise ValueError(f"{name} = {value} was found; expected 0 or more.")

    @atomic_unit_bytes.validator
    def _known_unit(self, _attribute: object, value: int) -> None:
        if value not in _TEAR_UNITS:
            raise ValueError(
                f"atomic_unit_bytes = {value} was found; expected one of {_TEAR_UNITS}: drives "
                "promise no other unit, and a torn sector is the drive's fault."
            )


PREFIXES_ONLY: Final = Bounds(singles=0, pairs=0, tears=0, older_tears=0, alone=False, subsets=0)
"""What a kernel crash can leave."""


@frozen
class CrashMoment:
    """A moment at which an image can arise, and the crash class by which it does."""

    progress: ProgramProgress
    crash_class: Literal["kernel", "power"]


@frozen
class CrashImage:
    """One content of the disk: the plainest recipe for it, and all moments it stands for.

    A `kernel` moment is a power cut's moment as well.  `recipes` counts how many recipes have
    this content, this one included.
    """

    recipe: Recipe
    moments: tuple[CrashMoment, ...]
    recipes: int
    fingerprint: int = field(repr=lambda value: f"{value:064x}"[:16])

    @property
    def strongest(self) -> CrashMoment:
        """The moment at which most ops had returned: the strongest duty."""
        return max(self.moments, key=lambda m: (m.progress.ops_completed, m.progress.ops_begun))

    @property
    def ops_completed(self) -> int:
        """The most ops that had returned at any of its moments."""
        return max(moment.progress.ops_completed for moment in self.moments)

    @property
    def ops_begun(self) -> int:
        """The most ops that had begun at any of its moments."""
        return max(moment.progress.ops_begun for moment in self.moments)


@frozen
class CrashImages:
    """All images of a log within bounds, each content once, in the order of the log.

    `tried` counts recipes of each kind before equal contents were merged; `possible` how many
    of that kind there are without a bound.
    """

    images: tuple[CrashImage, ...]
    tried: Mapping[RecipeKind, int]
    possible: Mapping[RecipeKind, int]

    @property
    def considered(self) -> int:
        """The number of recipes that were tried."""
        return sum(self.tried.values())

    @property
    def prefixes(self) -> int:
        """The number of those that lose nothing."""
        return self.tried["prefix"]

    @property
    def merged(self) -> int:
        """The number of recipes that gave a content that was there already."""
        return self.considered - len(self.images)

    def sample(self, limit: int) -> tuple[CrashImage, ...]:
        """At most `limit` images, spread evenly over the log; the first and last are kept."""
        return tuple(spread_evenly(self.images, limit))


def crash_images(log: BlockLog, bounds: Bounds | None = None) -> CrashImages:
    """Enumerates the contents that a crash could leave, within `bounds`."""
    bounds = bounds or Bounds()
    replay = Replay(log)
    plainest: dict[int, Recipe] = {}
    moments: dict[int, dict[CrashMoment, None]] = {}
    counts: dict[int, int] = {}
    tried: dict[RecipeKind, int] = {"prefix": 0}
    for kind, recipe, when in _candidates(log, bounds):
        fingerprint = replay.content(recipe).fingerprint
        known = plainest.get(fingerprint)
        if known is None or _plainness(recipe) < _plainness(known):
            plainest[fingerprint] = recipe
        moments.setdefault(fingerprint, {}).update(dict.fromkeys(when))
        counts[fingerprint] = counts.get(fingerprint, 0) + 1
        tried[kind] = tried.get(kind, 0) + 1
    images = [
        CrashImage(recipe, tuple(moments[key]), counts[key], key)
        for key, recipe in plainest.items()
    ]
    images.sort(key=lambda image: (image.recipe.position, _plainness(image.recipe)))
    return CrashImages(tuple(images), tried, _possible(log, bounds))


def _possible(log: BlockLog, bounds: Bounds) -> dict[RecipeKind, int]:
    """The number of recipes of each kind that a log has without any bound."""
    found: dict[RecipeKind, int] = {
        "prefix": 1, "all lost": 0, "drop": 0, "pair": 0, "landing": 0, "subset": 0, "torn": 0,
    }  # fmt: skip
    open_writes = cuts = 0
    for index, record in enumerate(log.records):
        if isinstance(record, LoggedFlush):
            open_writes = cuts = 0
        elif isinstance(record, LoggedWrite):
            found["prefix"] += 1
            found["all lost"] += 1
            found["drop"] += open_writes + 1
            found["pair"] += open_writes * (open_writes - 1) // 2
            found["landing"] += open_writes > 1
            found["subset"] = min(found["subset"] + 2 ** min(open_writes, 64), COUNTED_MAX)
            cuts += len(_cuts(log, index, bounds))
            found["torn"] += 2 * cuts
            open_writes += 1
    return found


def _plainness(recipe: Recipe) -> tuple[object, ...]:
    tears = tuple((tear.index, tear.start_bytes, tear.stop_bytes) for tear in recipe.torn)
    return (recipe.missing, recipe.position, recipe.dropped, tears)


def _candidates(
    log: BlockLog, bounds: Bounds
) -> Iterator[tuple[RecipeKind, Recipe, tuple[CrashMoment, ...]]]:
    """Each recipe with its kind and the moments at which a crash would give it."""
    progress = ProgramProgress()
    when, _, progress = _until_next_write(log, 0, progress)
    yield "prefix", Recipe(0), when
    for epoch in _epochs(log):
        mixtures = _mixtures(epoch, bounds)
        for count, index in enumerate(epoch, start=1):
            when, before_flush, progress = _until_next_write(log, index + 1, progress)
            yield "prefix", Recipe(index + 1), when
            for kind, recipe in _losses(log, epoch[:count], bounds):
                yield kind, recipe, before_flush
            for lost in mixtures.get(index, ()):
                yield "subset", Recipe(index + 1, lost), before_flush


def _epochs(log: BlockLog) -> Iterator[tuple[int, ...]]:
    """The writes between two flushes, by their places in the log; epochs without one left out."""
    open_writes: list[int] = []
    for index, record in enumerate(log.records):
        if isinstance(record, LoggedWrite):
            open_writes.append(index)
        elif isinstance(record, LoggedFlush) and open_writes:
            yield tuple(open_writes)
            open_writes.clear()
    if open_writes:
        yield tuple(open_writes)


def _mixtures(epoch: Sequence[int], bounds: Bounds) -> dict[int, list[tuple[int, ...]]]:
    """Random subsets of an epoch to lose, by the write that is the newest at the crash.

    Of fewer than four writes every subset is a drop, a pair or a landing already.
    """
    found: dict[int, list[tuple[int, ...]]] = {}
    if len(epoch) < 4:
        return found
    dice = random.Random(f"{bounds.seed}/{epoch[0]}")  # noqa: S311 - drawn the same each time
    for _ in range(bounds.subsets):
        newest = dice.randrange(3, len(epoch))
        chance = dice.choice((0.2, 0.5, 0.8))
        lost = tuple(index for index in epoch[:newest] if dice.random() < chance)
        if lost:
            found.setdefault(epoch[newest], []).append(lost)
    return found


def _until_next_write(
    log: BlockLog, position: int, progress: ProgramProgress
) -> tuple[tuple[CrashMoment, ...], tuple[CrashMoment, ...], ProgramProgress]:
    """The moments from `position` to the next write, those before a flush, and the progress."""
    seen, unflushed, flushed = [progress], [progress], False
    for record in log.records[position:]:
        if isinstance(record, LoggedWrite):
            break
        if isinstance(record, LoggedFlush):
            flushed = True
        elif isinstance(record, LoggedMark):
            progress = progress.after(record)
            seen.append(progress)
            if not flushed:
                unflushed.append(progress)
    return (
        tuple(CrashMoment(p, "kernel") for p in dict.fromkeys(seen)),
        tuple(CrashMoment(p, "power") for p in dict.fromkeys(unflushed)),
        progress,
    )


def _losses(
    log: BlockLog, open_writes: Sequence[int], bounds: Bounds
) -> Iterator[tuple[RecipeKind, Recipe]]:
    """Bounded losses in the epoch of `open_writes`, the newest of which was issued last.

    Losing the newest alone leaves the content of the prefix before it, at a later moment.
    """
    *older, newest = open_writes
    position = newest + 1
    if bounds.alone:
        yield "all lost", Recipe(position, tuple(open_writes))
    for index in spread_evenly(open_writes, bounds.singles):
        yield "drop", Recipe(position, (index,))
    if bounds.pairs and len(older) > 1:
        near = spread_evenly(older, bounds.pairs + 1)  # pairs of few writes: not quadratic
        for pair in spread_evenly(tuple(combinations(near, 2)), bounds.pairs):
            yield "pair", Recipe(position, pair)
    if bounds.alone and len(older) > 1:
        yield "landing", Recipe(position, tuple(older))
    for tear in spread_evenly(_tears(log, newest, bounds), bounds.tears):
        yield "torn", Recipe(position, (), (tear,))
    if bounds.older_tears:
        wide = [index for index in older if _cuts(log, index, bounds)]
        for index in spread_evenly(wide, bounds.older_tears):
            tears = _tears(log, index, bounds)
            yield "torn", Recipe(position, (), (tears[len(tears) // 2],))


def _cuts(log: BlockLog, index: int, bounds: Bounds) -> Sequence[int]:
    """The places at which a write can tear, in bytes from its start."""
    record, unit_bytes = log.records[index], bounds.atomic_unit_bytes
    if not isinstance(record, LoggedWrite):
        return ()
    offset = record.offset_bytes
    every = range(unit_bytes - offset % unit_bytes, len(record.data), unit_bytes)
    if not any(start < offset + len(record.data) and offset < stop for start, stop in bounds.whole):
        return every
    return [c for c in every if not any(start < offset + c < stop for start, stop in bounds.whole)]


def _tears(log: BlockLog, index: int, bounds: Bounds) -> tuple[Torn, ...]:
    """Ways in which a write of several units lands in part: a head of it, or a tail.

    Five of them, or each where the bounds have room for more.
    """
    record, cuts = log.records[index], _cuts(log, index, bounds)
    if not isinstance(record, LoggedWrite) or not cuts:
        return ()
    if bounds.tears > _FEW_TEARS:
        size = len(record.data)
        return tuple(w for cut in cuts for w in (Torn(index, 0, cut), Torn(index, cut, size)))
    size, middle = len(record.data), cuts[len(cuts) // 2]
    ways = (
        Torn(index, 0, cuts[0]),
        Torn(index, cuts[0], size),
        Torn(index, 0, middle),
        Torn(index, 0, cuts[-1]),
        Torn(index, cuts[-1], size),
    )
    return tuple(dict.fromkeys(ways))


def spread_evenly(items: Sequence[_Item], limit: int) -> Sequence[_Item]:
    """At most `limit` of `items`, evenly spread, in order, with the first and the last."""
    if len(items) <= limit:
        return items
    if limit <= 1:
        return items[-1:] if limit else items[:0]
    last = len(items) - 1
    return [items[i * last // (limit - 1)] for i in range(limit)]


def inner_places(count: int, wanted: int) -> list[int]:
    """`wanted` places among `count`, evenly spread and not at the ends."""
    wanted = min(wanted, count)
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]
