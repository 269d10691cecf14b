"""A guard for single checkpoint files: is a file, with all its tensors, what was saved?

A sidecar beside a file keeps its SHA-256 and, where the format is known, the digest, shape and
dtype of each tensor.  `check` compares a file with its sidecar and tries to load it; `scan` does
so for a folder.  Files and sidecars are read as if a stranger had written them: within bounds, no
symlink is followed, and no pickle is loaded in this process.

    from lastgood import guard

    guard.write_sidecar("model.safetensors")
    report = guard.check("model.safetensors")
    report.corrupted, report.reasons
"""

from lastgood.guard.group_scan import GROUP_COLUMNS, GroupScanRow, scan_groups
from lastgood.guard.guard import Guard, check, scan, write_sidecar
from lastgood.guard.limits import Limits
from lastgood.guard.report import FILE_COLUMNS, FileReport
from lastgood.guard.sidecar import SUFFIX, Sidecar, SidecarError, decode_sidecar, encode_sidecar
from lastgood.guard.tensors import LoaderMissingError, LoadFailedError, TensorFacts

__all__ = (
    "FILE_COLUMNS",
    "GROUP_COLUMNS",
    "SUFFIX",
    "FileReport",
    "GroupScanRow",
    "Guard",
    "Limits",
    "LoadFailedError",
    "LoaderMissingError",
    "Sidecar",
    "SidecarError",
    "TensorFacts",
    "check",
    "decode_sidecar",
    "encode_sidecar",
    "scan",
    "scan_groups",
    "write_sidecar",
)
