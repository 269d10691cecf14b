"""Real disks against the model: record what a file system writes, mount what a crash leaves."""

# Here the records of a log go by short names: nobody who imports them from here meets the ops.
from powercut_rig.blocks.block_log import BlockLog, Recipe, Torn
from powercut_rig.blocks.block_log import LoggedFlush as Flush
from powercut_rig.blocks.block_log import LoggedMark as Mark
from powercut_rig.blocks.block_log import LoggedWrite as Write
from powercut_rig.blocks.block_log import ProgramProgress as Progress
from powercut_rig.blocks.crash_images import (
    PREFIXES_ONLY,
    Bounds,
    CrashImage,
    CrashImages,
    crash_images,
)
from powercut_rig.blocks.crash_images import CrashMoment as Moment
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
