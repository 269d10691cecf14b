"""The modules of a guest's kernel, out of its unpacked package."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen

from powercut_rig.errors import RigUnavailable

_SUFFIX: Final = ".ko"
_LARGEST_BYTES: Final = 64 << 20
_BUILT_IN: Final = "modules.builtin"


def unpacked_modules(root: Path, release: str) -> KernelModules:
    """The modules below the folder of an unpacked package; RigUnavailable where there are none."""
    for place in ("lib/modules", "usr/lib/modules"):
        folder = root / place / release
        built_in = folder / _BUILT_IN
        if built_in.is_file():
            names = frozenset(_name(line) for line in built_in.read_text().splitlines())
            files = {_name(path.name): path for path in folder.rglob(f"*{_SUFFIX}*")}
            return KernelModules(release, files, names)
    why = f"The kernel's package has no lib/modules/{release}/{_BUILT_IN}, so nobody knows what"
    raise RigUnavailable([f"{why} is built into it and what is missing."])


def _name(path: str) -> str:
    return path.rpartition("/")[2].partition(_SUFFIX)[0].replace("-", "_")


@frozen
class KernelModules:
    """The files of modules, by their names, and the names of those that the kernel has in it."""

    release: str
    files: dict[str, Path]
    built_in: frozenset[str]

    def read(self, name: str, strip: Callable[[Path], bytes]) -> bytes | None:
        """A module, uncompressed and stripped; None where it is built in.

        RigUnavailable, with its name, where it is neither, or is compressed in an unknown way.
        """
        path = self.files.get(name)
        if path is None:
            if name in self.built_in:
                return None
            raise RigUnavailable(
                [f"Linux {self.release} has no module {name}, which the guest needs."]
            )
        if path.suffix == _SUFFIX:
            return strip(path)
        plain = path.with_suffix("")
        plain.write_bytes(_uncompressed(path))
        return strip(plain)


def _uncompressed(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        if path.suffix == ".xz":
            xz = lzma.LZMADecompressor()
            found, whole = xz.decompress(data, _LARGEST_BYTES), xz.eof
        elif path.suffix == ".gz":
            gz = zlib.decompressobj(zlib.MAX_WBITS | 16)
            found, whole = gz.decompress(data, _LARGEST_BYTES), gz.eof
        else:
            why = f"The kernel module {path.name} is compressed in a way that is not known here"
            raise RigUnavailable([f"{why} (known are .ko, .ko.xz and .ko.gz)."])
    except (lzma.LZMAError, zlib.error) as error:
        raise RigUnavailable([f"The kernel module {path.name} is damaged: {error}."]) from error
    if not whole:
        raise RigUnavailable([f"The kernel module {path.name} is cut short, or far too large."])
    return found
