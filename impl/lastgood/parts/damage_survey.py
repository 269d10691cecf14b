"""A survey of a damaged group: every unit is checked, whatever is wrong with those before it."""

from __future__ import annotations

from attrs import evolve

from lastgood.backends.interface import DiskReader, join
from lastgood.damage import Damaged, merge_ranges
from lastgood.format.manifest import MAX_SIZE_BYTES, Manifest
from lastgood.parts.thread_pool import ParallelMap
from lastgood.parts.verify import (
    UNREADABLE,
    Unit,
    check_unit,
    damage_from_errno,
    damaged_chunk,
    digest_chunks,
    units_of_group,
)


def survey(
    reader: DiskReader, group: str, manifest: Manifest, parallel_map: ParallelMap
) -> tuple[Damaged, ...]:
    """Every range of the group's parts that is damaged, in the manifest's order. OSError.

    Of a part without chunks that is the whole part.
    """
    found: dict[Unit, list[Damaged]] = {}

    def check(unit: Unit) -> None:
        found[unit] = _damaged(reader, group, unit)

    all_units = list(units_of_group(manifest))
    for _ in parallel_map(check, all_units):
        pass
    return merge_ranges(damaged for unit in all_units for damaged in found[unit])


def _damaged(reader: DiskReader, group: str, unit: Unit) -> list[Damaged]:
    part = unit.part
    if unit.chunking is None:
        damage = check_unit(reader, group, unit)
        return [] if damage is None else [Damaged(part.path, damage.reason, 0, part.size_bytes)]
    span = unit.span
    try:
        size_bytes, digests = digest_chunks(
            reader, join(group, part.path), span, unit.algorithm, MAX_SIZE_BYTES
        )
    except OSError as error:
        damage = damage_from_errno(error, part.path)
        if damage.reason.startswith(UNREADABLE) and unit.count > 1:
            # One sector that cannot be read costs its chunk, and not all that was read with it.
            return [
                each
                for number in range(unit.first, unit.first + unit.count)
                for each in _damaged(reader, group, evolve(unit, first=number, count=1))
            ]
        return [
            Damaged(part.path, damage.reason, start, stop - start, number, 1)
            for number, (start, stop) in enumerate(span, unit.first)
        ]
    found = [
        damaged_chunk(unit, number)
        for number, digest in enumerate(digests, unit.first)
        if digest != unit.expected(number)
    ]
    if size_bytes > part.size_bytes and span.stop == part.size_bytes:
        more = size_bytes - part.size_bytes
        found.append(Damaged(part.path, f"size_mismatch:{part.path}", part.size_bytes, more))
    return found
