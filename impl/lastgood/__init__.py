"""Crash-consistent checkpoints: groups of files that are all there, verified, or not at all.

with Store("checkpoints/run-7", keep=LatestN(3)) as store:
    loaded = store.load_latest()
    store.save(step, {"model.safetensors": weights, "rng.json": state})
"""

import sys

if sys.platform == "win32":
    raise ImportError(
        "lastgood does not run on Windows: directories cannot be synced there, so no group could "
        "be promised to survive a power cut. Nothing was changed. Use WSL 2."
    )

from lastgood.damage import Damaged
from lastgood.errors import (
    IntegrityError,
    LastgoodError,
    LastgoodWarning,
    LeaseError,
    NewerFormatError,
    StorageError,
    UsageError,
)
from lastgood.events import Event
from lastgood.format.digests import DigestUnavailableError
from lastgood.protocol.receipt import Receipt
from lastgood.recovery.loaded import Loaded, Opened
from lastgood.recovery.quarantine_report import PartReport, QuarantineReport
from lastgood.recovery.quarantine_usage import Purge, QuarantineEntry, QuarantineUsage
from lastgood.recovery.recovery import Group, Rejection
from lastgood.retention.policies import (
    AnyOf,
    BestN,
    Candidate,
    EveryKSteps,
    EverySeconds,
    KeepAll,
    LatestN,
    Policy,
)
from lastgood.retention.prune import Pruning
from lastgood.store import Store, open_read_only
from lastgood.training.cadence import AtSteps, Cadence, EveryInterval, EverySteps
from lastgood.training.preemption import Preemption

__version__ = "0.1.0"

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
    "NewerFormatError",
    "Opened",
    "PartReport",
    "Policy",
    "Preemption",
    "Pruning",
    "Purge",
    "QuarantineEntry",
    "QuarantineReport",
    "QuarantineUsage",
    "Receipt",
    "Rejection",
    "StorageError",
    "Store",
    "UsageError",
    "open_read_only",
)
