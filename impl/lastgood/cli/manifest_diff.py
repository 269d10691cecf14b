"""The difference between two groups, by their manifests. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import asdict, frozen

from lastgood.format.manifest import Manifest
from lastgood.format.metadata import to_text

Said = tuple[Any] | tuple[()]
_WHICH: Final = ("first", "second")


@frozen
class Difference:
    """The parts that only one has, those whose content differs, and the metadata that does.

    `unsure` are parts of the same size whose digests are of different kinds. `metadata` gives for
    each key what the first and the second say: one value, or () where one says nothing.
    """

    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    changed: tuple[str, ...]
    unsure: tuple[str, ...]
    metadata: Mapping[str, tuple[Said, Said]]

    @property
    def is_empty(self) -> bool:
        """Neither parts nor metadata are known to differ."""
        return not (
            self.only_first or self.only_second or self.changed or self.unsure or self.metadata
        )

    def as_json(self) -> dict[str, Any]:
        """The difference as JSON can say it."""
        return {
            **asdict(self, recurse=False),
            "metadata": {
                key: {which: each[0] for which, each in zip(_WHICH, pair, strict=True) if each}
                for key, pair in self.metadata.items()
            },
        }


def compare(first: Manifest, second: Manifest) -> Difference:
    """The difference between what two manifests vouch for."""
    ones = {part.path: part for part in first.parts}
    others = {part.path: part for part in second.parts}
    both = [path for path in ones if path in others]
    same_kind = first.algorithm == second.algorithm
    changed, unsure = [], []
    for path in both:
        one, other = ones[path], others[path]
        if one.size_bytes != other.size_bytes or (same_kind and one.digest != other.digest):
            changed.append(path)
        elif not same_kind:
            unsure.append(path)
    keys = sorted({*first.metadata, *second.metadata})
    return Difference(
        tuple(path for path in ones if path not in others),
        tuple(path for path in others if path not in ones),
        tuple(changed),
        tuple(unsure),
        {
            key: (_said(first, key), _said(second, key))
            for key in keys
            if _spelled(first, key) != _spelled(second, key)
        },
    )


def _said(manifest: Manifest, key: str) -> Said:
    """The metadata under a key: (None,) for null, and () where there is no such key."""
    return (manifest.metadata[key],) if key in manifest.metadata else ()


def _spelled(manifest: Manifest, key: str) -> str:
    """The same as the manifest spells it: to Python, 1 is true and 1.0."""
    return to_text({"said": _said(manifest, key)})
