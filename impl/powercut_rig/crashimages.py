"""Which contents a crash could leave on the recorded disk: all prefixes, and bounded losses.

A kernel crash lets the drive finish: it leaves a prefix of the log.  A power cut also loses
writes of the open flush epoch, one by one or in part; those are far too many, so they are
bounded, and spread evenly where a bound bites.  The order is fixed: the same log and bounds
give the same images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final, Literal, TypeVar

from attrs import field, frozen

from powercut_rig.blocklog import (
    SECTOR_BYTES,
    BlockLog,
    Flush,
    Mark,
    Progress,
    Recipe,
    Replay,
    Torn,
    Write,
)

_Item = TypeVar("_Item")

_TEAR_UNITS: Final = (SECTOR_BYTES, 4096)


@frozen
class Bounds:
    """How many losses are tried at each write of the log, beside the prefix that ends there.

    `singles`: other writes of the epoch lost alone; `pairs`: two lost together; `tears`: ways
    in which the newest write lands in part; `older_tears`: earlier writes that land in part;
    `alone`: also the newest write landing with all the rest of its epoch lost.  A write tears
    between units of `atomic_unit_bytes`, the drive's promise (512 or 4096).
    """

    singles: int = field(default=6)
    pairs: int = field(default=4)
    tears: int = field(default=3)
    older_tears: int = field(default=1)
    alone: bool = True
    atomic_unit_bytes: int = field(default=SECTOR_BYTES)

    @singles.validator
    @pairs.validator
    @tears.validator
    @older_tears.validator
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


PREFIXES_ONLY: Final = Bounds(singles=0, pairs=0, tears=0, older_tears=0, alone=False)
"""What a kernel crash can leave."""


@frozen
class Moment:
    """When, and by which crash class, an image can arise."""

    progress: Progress
    crash_class: Literal["kernel", "power"]


@frozen
class CrashImage:
    """One content of the disk: the plainest recipe for it, and all moments it stands for.

    A `kernel` moment is a power cut's moment as well.  `recipes` counts how many recipes have
    this content, this one included.
    """

    recipe: Recipe
    moments: tuple[Moment, ...]
    recipes: int
    fingerprint: int = field(repr=lambda value: f"{value:064x}"[:16])

    @property
    def ops_completed(self) -> int:
        """The most ops that had returned at any of its moments: the strongest duty."""
        return max(moment.progress.ops_completed for moment in self.moments)

    @property
    def ops_begun(self) -> int:
        """The most ops that had begun at any of its moments."""
        return max(moment.progress.ops_begun for moment in self.moments)


@frozen
class CrashImages:
    """All images of a log within bounds, each content once, in the order of the log.

    `considered` counts recipes before equal contents were merged, `prefixes` the recipes
    among them that lose nothing.
    """

    images: tuple[CrashImage, ...]
    considered: int
    prefixes: int

    @property
    def merged(self) -> int:
        """How many recipes gave a content that was there already."""
        return self.considered - len(self.images)

    def sample(self, limit: int) -> tuple[CrashImage, ...]:
        """At most `limit` images, spread evenly over the log; the first and last are kept."""
        return tuple(spread(self.images, limit))


def crash_images(log: BlockLog, bounds: Bounds | None = None) -> CrashImages:
    """Enumerates the contents that a crash could leave, within `bounds`."""
    bounds = bounds or Bounds()
    replay = Replay(log)
    plainest: dict[int, Recipe] = {}
    moments: dict[int, dict[Moment, None]] = {}
    counts: dict[int, int] = {}
    considered = prefixes = 0
    for recipe, when in _candidates(log, bounds):
        fingerprint = replay.content(recipe).fingerprint
        known = plainest.get(fingerprint)
        if known is None or _plainness(recipe) < _plainness(known):
            plainest[fingerprint] = recipe
        moments.setdefault(fingerprint, {}).update(dict.fromkeys(when))
        counts[fingerprint] = counts.get(fingerprint, 0) + 1
        considered += 1
        prefixes += recipe.is_prefix
    images = [
        CrashImage(recipe, tuple(moments[key]), counts[key], key)
        for key, recipe in plainest.items()
    ]
    images.sort(key=lambda image: (image.recipe.position, _plainness(image.recipe)))
    return CrashImages(tuple(images), considered, prefixes)


def _plainness(recipe: Recipe) -> tuple[object, ...]:
    tears = tuple((tear.index, tear.start_bytes, tear.stop_bytes) for tear in recipe.torn)
    return (recipe.missing, recipe.position, recipe.dropped, tears)


def _candidates(log: BlockLog, bounds: Bounds) -> Iterator[tuple[Recipe, tuple[Moment, ...]]]:
    """Each recipe with the moments at which a crash would give it."""
    progress = Progress()
    when, _, progress = _until_next_write(log, 0, progress)
    yield Recipe(0), when
    open_writes: list[int] = []
    for index, record in enumerate(log.records):
        if isinstance(record, Flush):
            open_writes.clear()
        if not isinstance(record, Write):
            continue
        open_writes.append(index)
        when, before_flush, progress = _until_next_write(log, index + 1, progress)
        yield Recipe(index + 1), when
        for recipe in _losses(log, open_writes, bounds):
            yield recipe, before_flush


def _until_next_write(
    log: BlockLog, position: int, progress: Progress
) -> tuple[tuple[Moment, ...], tuple[Moment, ...], Progress]:
    """The moments from `position` to the next write, those before a flush, and the progress."""
    seen, unflushed, flushed = [progress], [progress], False
    for record in log.records[position:]:
        if isinstance(record, Write):
            break
        if isinstance(record, Flush):
            flushed = True
        elif isinstance(record, Mark):
            progress = progress.after(record)
            seen.append(progress)
            if not flushed:
                unflushed.append(progress)
    return (
        tuple(Moment(p, "kernel") for p in dict.fromkeys(seen)),
        tuple(Moment(p, "power") for p in dict.fromkeys(unflushed)),
        progress,
    )


def _losses(log: BlockLog, open_writes: Sequence[int], bounds: Bounds) -> Iterator[Recipe]:
    """Bounded losses in the epoch of `open_writes`, the newest of which did land.

    Losing the newest whole is the prefix before it, so it is not tried again.
    """
    *older, newest = open_writes
    position = newest + 1
    for index in spread(older, bounds.singles):
        yield Recipe(position, (index,))
    if bounds.pairs and len(older) > 1:
        near = spread(older, bounds.pairs + 1)  # pairs of few writes: not quadratic
        for pair in spread(tuple(combinations(near, 2)), bounds.pairs):
            yield Recipe(position, pair)
    if bounds.alone and len(older) > 1:
        yield Recipe(position, tuple(older))
    for tear in spread(_tears(log, newest, bounds.atomic_unit_bytes), bounds.tears):
        yield Recipe(position, (), (tear,))
    if bounds.older_tears:
        wide = [index for index in older if _tears(log, index, bounds.atomic_unit_bytes)]
        for index in spread(wide, bounds.older_tears):
            tears = _tears(log, index, bounds.atomic_unit_bytes)
            yield Recipe(position, (), (tears[len(tears) // 2],))


def _tears(log: BlockLog, index: int, unit_bytes: int) -> tuple[Torn, ...]:
    """Ways in which a write of several units lands in part: a head of it, or a tail."""
    record = log.records[index]
    if not isinstance(record, Write):
        return ()
    size, offset = len(record.data), record.offset_bytes
    cuts = range(unit_bytes - offset % unit_bytes, size, unit_bytes)
    if not cuts:
        return ()
    middle = cuts[len(cuts) // 2]
    ways = (
        Torn(index, 0, cuts[0]),
        Torn(index, cuts[0], size),
        Torn(index, 0, middle),
        Torn(index, 0, cuts[-1]),
        Torn(index, cuts[-1], size),
    )
    return tuple(dict.fromkeys(ways))


def spread(items: Sequence[_Item], limit: int) -> Sequence[_Item]:
    """At most `limit` of `items`, evenly spread, in order, with the first and the last."""
    if len(items) <= limit:
        return items
    if limit <= 1:
        return items[-1:] if limit else items[:0]
    last = len(items) - 1
    return [items[i * last // (limit - 1)] for i in range(limit)]
