"""The uncompressed kernel out of a bzImage: QEMU starts it directly, without a boot loader.

That saves the guest's own decompression, two seconds of emulation at each boot.
"""

from __future__ import annotations

import lzma
import struct
from typing import Final

from powercut_rig.errors import RigUnavailable

_SECTOR: Final = 512
_MAGIC: Final = b"HdrS"
_MAGIC_AT: Final = 0x202
_SETUP_SECTORS_AT: Final = 0x1F1
_PAYLOAD_AT: Final = 0x248  # u32 offset and u32 length, from the end of the setup sectors
_XZ: Final = b"\xfd7zXZ\0"
_ELF: Final = b"\x7fELF"
_LARGEST_BYTES: Final = 512 << 20


def vmlinux_of(image: bytes) -> bytes:
    """The ELF kernel in a bzImage. RigUnavailable where it is no such image, or not in XZ."""
    if len(image) < _PAYLOAD_AT + 8 or image[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        raise _refused("it has no Linux boot header")
    setup_bytes = ((image[_SETUP_SECTORS_AT] or 4) + 1) * _SECTOR
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_AT)
    payload = image[setup_bytes + offset : setup_bytes + offset + length]
    if len(payload) != length or not payload.startswith(_XZ):
        raise _refused("its payload is cut short, or is not in XZ")
    # The payload ends with the uncompressed size, which is no part of the XZ stream.
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    try:
        kernel = decoder.decompress(payload, _LARGEST_BYTES)
    except lzma.LZMAError as error:
        raise _refused(f"its payload is damaged ({error})") from error
    if not decoder.eof or not kernel.startswith(_ELF):
        raise _refused("its payload is no ELF kernel")
    return kernel


def _refused(why: str) -> RigUnavailable:
    return RigUnavailable([f"The guest's kernel image was not understood: {why}."])
