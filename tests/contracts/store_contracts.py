"""The arithmetic of the library: chunks, damaged ranges, and what is kept and saved when."""

from __future__ import annotations

from lastgood.damage import Damaged, merge_ranges
from lastgood.format.chunks import Chunking, Span, enlarge_to_fit
from lastgood.format.manifest import Manifest, Part
from lastgood.parts.verify import UNIT_BYTES, units_of_part
from lastgood.retention.policies import Candidate, EverySeconds, generations_to_prune
from lastgood.training.cadence import EveryInterval, EverySteps, LastSave
from tests.contracts.contract import LIMIT, Mutant, contract

CHUNKS = "impl/lastgood/format/chunks.py"
POLICIES = "impl/lastgood/retention/policies.py"
CADENCE = "impl/lastgood/training/cadence.py"
CHUNK = 16 << 20
DIGESTS = 10
TIMES = (0, 1, 3, 5)


def around(*marks: int) -> list[int]:
    """Each mark, and its neighbours."""
    return [mark + step for mark in marks for step in (-1, 0, 1)]


@contract(
    Mutant(CHUNKS, "0 if size_bytes <= self.chunk_bytes", "0 if size_bytes < self.chunk_bytes"),
    [*around(0, 1 << 61), *around(*(n << 12 for n in range(1, 20)))],
    range(12, 41),
)
def chunks_are_as_many_as_cover_the_part(size_bytes: int, exponent: int) -> None:
    """One chunk fewer does not cover the part. A part that one chunk covers has none.

    Domain: a part of any size below 2^62, chunks of 2^12 to 2^40 bytes.
    """
    assert 0 <= size_bytes < LIMIT
    assert 12 <= exponent <= 40

    chunking = Chunking(1 << exponent, "sha256")
    count = chunking.count(size_bytes)

    assert count != 1
    if count:
        assert (count - 1) * chunking.chunk_bytes < size_bytes <= count * chunking.chunk_bytes
    else:
        assert size_bytes <= chunking.chunk_bytes


@contract(
    Mutant(
        CHUNKS,
        "yield start, min(self.stop, start + self.chunk_bytes)",
        "yield start, start + self.chunk_bytes",
    ),
    *[around(*(n << 11 for n in range(14)), LIMIT - 1)] * 3,
)
def a_span_is_divided_into_its_chunks(start: int, stop: int, at: int) -> None:
    """Each byte is in one chunk, and no chunk leaves the span or is longer than a chunk.

    Domain: a span of at most three chunks of 4096 bytes, and a byte of it, anywhere below 2^62.
    """
    assert 0 <= start < stop < LIMIT
    assert stop - start <= 3 * 4096
    assert start <= at < stop

    chunks = list(Span(stop, start, stop, 4096))

    assert sum(first <= at < end for first, end in chunks) == 1
    assert all(start <= first < end <= min(stop, first + 4096) for first, end in chunks)


@contract(
    Mutant("impl/lastgood/parts/verify.py", "-(-stop // size))", "stop // size)"),
    around(CHUNK, 2 * CHUNK, 5 * CHUNK, 1 << 61),
    *[around(1, CHUNK, 2 * CHUNK, 4 * CHUNK)] * 3,
)
def the_units_of_a_range_cover_it(size_bytes: int, start: int, stop: int, at: int) -> None:
    """Each byte of the range is in one unit, and no unit is longer than one may be.

    Domain: a part in chunks of 16 MiB, below 2^62 bytes; a range of up to two units, and its byte.
    """
    assert CHUNK < size_bytes < LIMIT
    assert 0 <= start <= at < stop <= size_bytes
    assert stop - start <= 2 * UNIT_BYTES

    part = Part("weights", size_bytes, "", chunks="said elsewhere")
    manifest = Manifest(1, 1, "", (part,), chunking=Chunking(CHUNK, "sha256"))
    units = units_of_part(manifest, part, start, stop)

    assert sum(unit.span.start <= at < unit.span.stop for unit in units) == 1
    assert all(0 < unit.size_bytes <= UNIT_BYTES for unit in units)


@contract(
    Mutant(CHUNKS, "* chunking.digits > room_bytes", "* chunking.digits >= room_bytes"),
    *[around(*(n << 30 for n in range(12)))] * 2,
)
def enlarged_chunks_are_the_smallest_that_fit(one: int, other: int) -> None:
    """The digests fit; with chunks of half the size, where any were doubled, they do not.

    Domain: two parts of up to 2^36 bytes each, chunks of 2^30 bytes, room for ten digests.
    """
    assert 0 <= one < 1 << 36
    assert 0 <= other < 1 << 36

    chunking = Chunking(1 << 30, "sha256")
    found = enlarge_to_fit(chunking, [one, other], DIGESTS * chunking.digits)

    assert found.count(one) + found.count(other) <= DIGESTS
    half = Chunking(found.chunk_bytes // 2, "sha256")
    assert found == chunking or half.count(one) + half.count(other) > DIGESTS


@contract(
    Mutant(
        "impl/lastgood/damage.py",
        "each.chunk == last.chunk + last.chunks",
        "each.chunk >= last.chunk + last.chunks",
    ),
    *[(1, 2), (0, 1, 3), (1, 2)] * 3,
)
def merged_ranges_are_as_much_damage(
    s1: int, c1: int, n1: int, s2: int, c2: int, n2: int, s3: int, c3: int, n3: int
) -> None:
    """Nothing is lost or gained, only what follows is joined, and nothing that could be is not.

    Domain: three ranges of s bytes, n chunks from the number c on, all below 2^62.
    """
    assert 0 < s1 < LIMIT
    assert 0 <= c1 < LIMIT
    assert 0 < n1 < LIMIT
    assert 0 < s2 < LIMIT
    assert 0 <= c2 < LIMIT
    assert 0 < n2 < LIMIT
    assert 0 < s3 < LIMIT
    assert 0 <= c3 < LIMIT
    assert 0 < n3 < LIMIT

    given = ((s1, c1, n1), (s2, c2, n2), (s3, c3, n3))
    found = merge_ranges(Damaged("weights", "flip", 0, *each) for each in given)

    assert sum(each.size_bytes for each in found) == s1 + s2 + s3
    assert sum(each.chunks for each in found) == n1 + n2 + n3
    assert len(found) == 3 - (c2 == c1 + n1) - (c3 == c2 + n2)


@contract(
    Mutant(POLICIES, "at_s - last_s >= self.seconds", "at_s - last_s > self.seconds"),
    *[TIMES] * 5,
    (1, 2, 3),
)
def every_seconds_gives_up_only_what_is_close_to_a_kept_one(
    a: int, b: int, c: int, d: int, now: int, seconds: int
) -> None:
    """A group that is given up was saved after an older one that is kept, by less than `seconds`.

    Domain: four groups saved at any times, a to d, and any moment and interval, below 2^62 seconds.
    """
    assert 0 <= a < LIMIT
    assert 0 <= b < LIMIT
    assert 0 <= c < LIMIT
    assert 0 <= d < LIMIT
    assert 0 <= now < LIMIT
    assert 0 < seconds < LIMIT

    times = {1: a, 2: b, 3: c, 4: d}
    kept = EverySeconds(seconds).keeps([Candidate(n, n, times[n]) for n in (4, 3, 2, 1)], now)

    assert all(
        any(older in kept and 0 <= at_s - times[older] < seconds for older in range(1, generation))
        for generation, at_s in times.items()
        if generation not in kept
    )


@contract(
    Mutant(POLICIES, "for each in newest_first[1:] if", "for each in newest_first if"),
    *[TIMES] * 4,
    (1, 2, 3),
    *[(False, True)] * 2,
)
def a_prune_spares_the_newest_and_the_protected(
    a: int, b: int, c: int, now: int, seconds: int, first: bool, second: bool
) -> None:
    """Neither the newest group goes nor one that a run came from, whatever the policy keeps.

    Domain: three groups saved at any times, a to c, any moment and interval, below 2^62 seconds;
    the first, the second, both or none of them protected.
    """
    assert 0 <= a < LIMIT
    assert 0 <= b < LIMIT
    assert 0 <= c < LIMIT
    assert 0 <= now < LIMIT
    assert 0 < seconds < LIMIT

    groups = [Candidate(1, 1, a), Candidate(2, 2, b), Candidate(3, 3, c)]
    protected = [number for number, said in ((1, first), (2, second)) if said]
    given_up = generations_to_prune(EverySeconds(seconds), groups, protected, now)

    assert 3 not in given_up
    assert not (first and 1 in given_up)
    assert not (second and 2 in given_up)


@contract(
    Mutant(CADENCE, "now_s - last.at_s >= self.seconds", "now_s - last.at_s > self.seconds"),
    (0, 1, 2),
    (None, 0, 1),
    *[range(7)] * 2,
    (1, 2, 4),
)
def an_interval_makes_a_save_due_when_it_has_passed(
    step: int, last_step: int | None, last: int, later: int, seconds: int
) -> None:
    """A save is due from the interval's end on, not before; not again at the step that was saved.

    Domain: any step and saved step or none, any two moments and interval, all below 2^62.
    """
    assert 0 <= step < LIMIT
    assert last_step is None or 0 <= last_step < LIMIT
    assert 0 <= last < LIMIT
    assert 0 <= later < LIMIT
    assert 0 < seconds < LIMIT

    cadence, saved = EveryInterval(seconds), LastSave(last_step, last)

    assert cadence.is_due(step, last + seconds + later, saved) == (step != last_step)
    assert not cadence.is_due(step, last + seconds - 1 - later, saved)


@contract(
    Mutant(CADENCE, "return step > 0 and", "return step >= 0 and"),
    range(0, 1400, 7),
    (0, 1, 3, 6, 7, 499),
    (1, 7, 500),
)
def every_steps_is_due_once_in_as_many_steps(step: int, more: int, every: int) -> None:
    """A step that is due is not 0; the next one that is due comes `every` steps later.

    Domain: any step below 2^62, any number of steps up to the next; every 1, 7 or 500 steps.
    """
    assert 0 <= step < LIMIT
    assert every in (1, 7, 500)
    assert 0 <= more < every

    cadence, nothing = EverySteps(every), LastSave(None, 0)
    due = [cadence.is_due(n, 0, nothing) for n in (step, step + more, step + every)]

    if due[0]:
        assert step >= every
        assert due == [True, more == 0, True]
