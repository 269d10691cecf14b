"""The findings of a check of one file, with the columns and the reasons of the paper's scan."""

from __future__ import annotations

import re
from typing import Any, Final

from attrs import frozen

FILE_COLUMNS: Final = (
    "epoch", "file", "bytes", "sha256", "load_ok", "nan_total", "inf_total", "shape_ok",
    "expected_digest_present", "digest_match", "expected_file_sha_present", "file_sha_match",
    "corrupted", "note",
)  # fmt: skip
_EPOCH: Final = re.compile(r"epoch_([0-9]{1,18})(?![0-9])")


@frozen
class FileReport:
    """The findings about one file.

    Of the four layers each is True where it holds, False where it does not, and None where nothing
    could be compared: no sidecar, or no loader.  `reasons` are words for machines, each of which
    rejects the file: `missing:NAME`, `not_regular:NAME`, `unreadable:NAME`, `load_error:TYPE`,
    `shape_mismatch`, `digest_mismatch`, `file_sha_mismatch`, `meta_error:TYPE`, `nonfinite`.
    `warnings` reject nothing: `no_sidecar`, `nan:COUNT`, `inf:COUNT`, `not_loaded:WHY`.
    `damaged` names the tensors whose digest is another one, and `detail` is for people.
    `has_sidecar` and `has_digests` say that there was something to compare with.
    """

    path: str
    size_bytes: int | None
    sha256: str | None
    load_ok: bool | None
    shape_ok: bool | None
    digest_ok: bool | None
    file_sha_ok: bool | None
    nan_total: int = 0
    inf_total: int = 0
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    detail: str = ""
    has_sidecar: bool = False
    has_digests: bool = False

    @property
    def corrupted(self) -> bool:
        """The file is rejected."""
        return bool(self.reasons)

    @property
    def is_judged(self) -> bool:
        """Something could be compared, or the file could be loaded."""
        return self.corrupted or self.file_sha_ok is not None or self.load_ok is not None

    def row(self) -> tuple[str | int, ...]:
        """The cells of `FILE_COLUMNS`; what is not known is empty."""
        name = self.path.rpartition("/")[2]
        found = _EPOCH.search(name)
        return (
            int(found[1]) if found else -1,
            name,
            "" if self.size_bytes is None else self.size_bytes,
            self.sha256 or "",
            _cell(self.load_ok),
            self.nan_total,
            self.inf_total,
            _cell(self.shape_ok),
            int(self.has_digests),
            int(bool(self.digest_ok)),
            int(self.has_sidecar),
            int(bool(self.file_sha_ok)),
            int(self.corrupted),
            ";".join((*self.reasons, *self.warnings)),
        )

    def as_json(self) -> dict[str, Any]:
        """The row by column, with the path, the damaged tensors and the words for people."""
        said = dict(zip(FILE_COLUMNS, self.row(), strict=True))
        more = {"path": self.path, "damaged": list(self.damaged), "detail": self.detail}
        return {**said, **more, "reasons": list(self.reasons), "warnings": list(self.warnings)}


def _cell(holds: bool | None) -> str | int:
    return "" if holds is None else int(holds)
