"""Crash-consistent checkpoints: groups of files that are all there, verified, or not at all.

with Store("checkpoints/run-7", keep=LatestN(3)) as store:
    loaded = store.load_latest()
    store.save(step, {"model.safetensors": weights, "rng.json": state})
"""

from lastgood.cadence import AtSteps, Cadence, EveryInterval, EverySteps
from lastgood.damage import Damaged
from lastgood.errors import (
    IntegrityError,
    LastgoodError,
    LastgoodWarning,
    LeaseError,
    StorageError,
    UsageError,
)
from lastgood.events import Event
from lastgood.hashing import DigestUnavailableError
from lastgood.loaded import Loaded, Opened
from lastgood.preemption import Preemption
from lastgood.pruning import Pruning
from lastgood.receipt import Receipt
from lastgood.recovery import Group, Rejection
from lastgood.report import PartReport, QuarantineReport
from lastgood.retention import (
    AnyOf,
    BestN,
    Candidate,
    EveryKSteps,
    EverySeconds,
    KeepAll,
    LatestN,
    Policy,
)
from lastgood.store import Store, open_read_only

__all__ = (
    "AnyOf",
    "AtSteps",
    "BestN",
    "Cadence",
    "Candidate",
    "Damaged",
    "DigestUnavailableError",
    "Event",
    "EveryInterval",
    "EveryKSteps",
    "EverySeconds",
    "EverySteps",
    "Group",
    "IntegrityError",
    "KeepAll",
    "LastgoodError",
    "LastgoodWarning",
    "LatestN",
    "LeaseError",
    "Loaded",
    "Opened",
    "PartReport",
    "Policy",
    "Preemption",
    "Pruning",
    "QuarantineReport",
    "Receipt",
    "Rejection",
    "StorageError",
    "Store",
    "UsageError",
    "open_read_only",
)
