"""APFS as a Mac runs it: Apple's own driver on a disk image, cloned while a program runs.

What the driver has handed to the image's "drive" is in the image file, so a clone of that file is
what a crash of the kernel leaves: the page cache is gone, the drive finishes.  A cache inside a
drive is not in a file, so nothing here speaks of a power cut.

Written from manual pages and from transcripts of the commands; never run on a Mac by its authors.
"""

from __future__ import annotations

from typing import Final

APFS: Final = "apfs"
"""What `--fs` calls it, and the profile that it is held against."""

NOT_RUN: Final = "Nobody who wrote this has run it on a Mac."

NO_POWER: Final = (
    "A clone of a disk image shows what a kernel crash leaves. The cache of the drive below it is "
    "not in the image, so nothing here speaks of a power cut."
)
