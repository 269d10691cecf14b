"""The strict variant of linux-apfs-rw: substitutions, each of which must match exactly once.

As packaged the driver sends no flush, and may send a checkpoint's superblock before the blocks that
it speaks of.  Here each block of a commit is waited for, and the superblock stands between two
flushes.  A last edit lets a shared mapping be written without a kernel oops (from 5.18 on).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from powercut_rig.errors import RigUnavailable


@frozen
class SourceEdit:
    """In the file `path`, `before` becomes `after`."""

    path: str
    before: str
    after: str


STRICT_EDITS: Final = (
    SourceEdit(
        "transaction.c",
        "\t\tapfs_submit_bh(REQ_OP_WRITE, REQ_SYNC, bh);\n",
        "\t\tget_bh(bh);\n"
        "\t\tapfs_submit_bh(REQ_OP_WRITE, REQ_SYNC, bh);\n"
        "\t\twait_on_buffer(bh);\n"
        "\t\tput_bh(bh);\n",
    ),
    SourceEdit(
        "transaction.c",
        "\tapfs_obj_set_csum(sb, obj);\n\tmark_buffer_dirty(bh);\n",
        "\terr = blkdev_issue_flush(nxi->nx_bdev);\n"
        "\tif (err)\n\t\treturn err;\n"
        "\tapfs_obj_set_csum(sb, obj);\n\tmark_buffer_dirty(bh);\n",
    ),
    SourceEdit(
        "transaction.c",
        "\terr = sync_dirty_buffer(bh);\n\tif (err)\n\t\treturn err;\n\n"
        "\treturn filemap_write_and_wait(bdev_map);\n",
        "\terr = sync_dirty_buffer(bh);\n\tif (err)\n\t\treturn err;\n\n"
        "\terr = filemap_write_and_wait(bdev_map);\n"
        "\tif (err)\n\t\treturn err;\n"
        "\treturn blkdev_issue_flush(nxi->nx_bdev);\n",
    ),
    SourceEdit(
        "inode.c",
        "\t.invalidate_folio = apfs_noop_invalidate_folio,\n",
        "\t.invalidate_folio = apfs_noop_invalidate_folio,\n\t.dirty_folio\t= block_dirty_folio,\n",
    ),
)


def apply_edits(
    sources: Mapping[str, str], edits: Sequence[SourceEdit] = STRICT_EDITS
) -> dict[str, str]:
    """The sources with every edit made.

    Raises `RigUnavailable` naming the file where a pattern does not occur exactly once: then this
    is a version of the driver that nobody has looked at, and nothing is guessed.
    """
    result = dict(sources)
    for edit in edits:
        text = result.get(edit.path)
        if text is None:
            raise RigUnavailable([f"The driver's source has no {edit.path}, which an edit names."])
        if (count := text.count(edit.before)) != 1:
            first = edit.before.strip().splitlines()[0]
            why = (
                f"In the driver's {edit.path} the lines from `{first}` occur {count} times; "
                "the edit that makes it flush needs them exactly once. This is a version of "
                "linux-apfs-rw that the edit was not written for."
            )
            raise RigUnavailable([why])
        result[edit.path] = text.replace(edit.before, edit.after)
    return result


def edit_folder(folder: Path, edits: Sequence[SourceEdit] = STRICT_EDITS) -> None:
    """Make the edits in a source tree; nothing is written where one of them does not match."""
    paths = dict.fromkeys(edit.path for edit in edits)
    sources = {path: (folder / path).read_text() for path in paths if (folder / path).is_file()}
    for path, text in apply_edits(sources, edits).items():
        (folder / path).write_text(text)
