"""Real disks against the model: record what a file system writes, mount what a crash leaves."""

from powercut_rig.blocks.block_log import BlockLog, Flush, Mark, Progress, Recipe, Torn, Write
from powercut_rig.blocks.crash_images import (
    PREFIXES_ONLY,
    Bounds,
    CrashImage,
    CrashImages,
    Moment,
    crash_images,
)
from powercut_rig.errors import ImageRefused, RigError, RigUnavailable
from powercut_rig.linux.rig import Rig
from powercut_rig.mounted.image_mounter import FsckReport, MountedImage, Phases
from powercut_rig.mounted.tree_reader import Tag, Tree, TreeLimits, read_tree
from powercut_rig.mounted.writeback import WriteBack, default_plan, drawn_plan
from powercut_rig.rigs import what_is_missing
from powercut_rig.system.worker import run_in_worker, run_in_worker_within

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
