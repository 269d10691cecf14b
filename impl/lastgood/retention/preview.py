"""The answer of a dry run of a prune, by looking only."""

from __future__ import annotations

from attrs import evolve

from lastgood.backends.interface import DiskReader
from lastgood.parts.thread_pool import ParallelMap
from lastgood.recovery.clearing import decide_clearing
from lastgood.recovery.listing import list_entries
from lastgood.recovery.recovery import Scan
from lastgood.retention.prune import PruneRequest, Pruning, decide_prune, list_candidates


def would_prune(
    reader: DiskReader, store: str, scan: Scan, request: PruneRequest, parallel_map: ParallelMap
) -> Pruning | None:
    """The prune after a search that has found this. Errors as `decide_prune`."""
    if scan.group is None:
        return None
    names = list_entries(reader, store)
    pruning = decide_prune(
        reader,
        store,
        list_candidates(reader, store, names),
        scan.group,
        request,
        unread=[each for each in scan.rejected if each.is_unread],
        parallel_map=parallel_map,
    )
    clearing = decide_clearing(reader, store, names, scan.rejected)
    return evolve(pruning, stuck=(*pruning.stuck, *clearing.stuck))
