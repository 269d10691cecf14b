"""Crash-consistent checkpoints: groups of files that are all there, verified, or not at all.

with Store("checkpoints/run-7") as store:
    loaded = store.load_latest()
    store.save(step, {"model.safetensors": weights, "rng.json": state})
"""

from lastgood.errors import (
    IntegrityError,
    LastgoodError,
    LastgoodWarning,
    LeaseError,
    StorageError,
    UsageError,
)
from lastgood.receipt import Receipt
from lastgood.recovery import Group
from lastgood.store import Store, open_read_only

__all__ = (
    "Group",
    "IntegrityError",
    "LastgoodError",
    "LastgoodWarning",
    "LeaseError",
    "Receipt",
    "StorageError",
    "Store",
    "UsageError",
    "open_read_only",
)
