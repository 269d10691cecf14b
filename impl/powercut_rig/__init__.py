"""Real disks against the model: record what a file system writes, mount what a crash leaves."""

from powercut_rig.blocklog import BlockLog, Flush, Mark, Progress, Recipe, Torn, Write
from powercut_rig.crashimages import (
    PREFIXES_ONLY,
    Bounds,
    CrashImage,
    CrashImages,
    Moment,
    crash_images,
)
from powercut_rig.errors import ImageRefused, RigError, RigUnavailable
from powercut_rig.images import FsckReport, MountedImage, Phases
from powercut_rig.requirements import what_is_missing
from powercut_rig.rig import Rig
from powercut_rig.tree import Tag, Tree, TreeLimits, read_tree
from powercut_rig.worker import run_in_worker, run_in_worker_within
from powercut_rig.writeback import WriteBack, default_plan, drawn_plan

__all__ = [
    "PREFIXES_ONLY",
    "BlockLog",
    "Bounds",
    "CrashImage",
    "CrashImages",
    "Flush",
    "FsckReport",
    "ImageRefused",
    "Mark",
    "Moment",
    "MountedImage",
    "Phases",
    "Progress",
    "Recipe",
    "Rig",
    "RigError",
    "RigUnavailable",
    "Tag",
    "Torn",
    "Tree",
    "TreeLimits",
    "Write",
    "WriteBack",
    "crash_images",
    "default_plan",
    "drawn_plan",
    "read_tree",
    "run_in_worker",
    "run_in_worker_within",
    "what_is_missing",
]
