"""What is fuzzed: functions of bytes that raise where the library breaks a promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.fuzz import mixed, reports, stores, values

Target = Callable[[bytes], None]

TARGETS: Final[Mapping[str, Target]] = {
    "manifest-bytes": values.manifest_bytes,
    "manifest-body": values.manifest_body,
    "manifest-values": values.manifest_values,
    "manifest-newer": values.manifest_newer,
    "part-path": values.part_path,
    "metadata": values.metadata,
    "names": values.names,
    "report": values.report,
    "store-tree": stores.store_tree,
    "store-writer": stores.store_writer,
    "store-reports": reports.store_reports,
    "store-mixed": mixed.store_mixed,
    "paper-tree": stores.paper_tree,
}
