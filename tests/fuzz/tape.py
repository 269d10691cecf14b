"""A tape of bytes that a fuzzer mutates: read as numbers, names and blobs, and written the same.

Every tape can be read: one that ends early goes on with zeros.
"""

from __future__ import annotations

from typing import Final

NAMES: Final[tuple[bytes, ...]] = (
    b"MANIFEST",
    b"model",
    b"optim",
    b"adam",
    b"lock",
    b"quarantine",
    b"gen-00000001-step-00000001",
    b"gen-00000002-step-00000002",
    b"gen-00000003-step-00000003",
    b"gen-00000003-step-00000001",
    b"gen-999999999999999999-step-00000001",
    b"gen-00000009-step-999999999999999999",
    b"attempt-gen-00000004-step-00000004",
    b"attempt-gen-00000001-step-00000001",
    b"pruned-gen-00000001-step-00000001",
    b"pruned-gen-00000002-step-00000002",
    b"pruned-gen-00000000-step-00000000",
    b"gen-00000001-step-00000001.1",
    b"gen-00000002-step-00000002.999999999",
    b"gen-00000002-step-00000002.report.json",
    b"gen-0000001-step-00000001",
    b"GEN-00000001-STEP-00000001",
    b"Model",
    b"manifest",
    b"mode\xff",
    b"\xc3\xa4",
    b"a\xcc\x88",
    b"x" * 255,
    b"-",
    b"#x",
    b" \n\x1b[31m",
    b"gen-00000005-step-00000005\n",
)
"""Names that mean something to a store, or nearly; a tape may also spell any other."""

OWN: Final = 255
"""The byte that a name begins with which is not among NAMES: a blob follows."""
_BLOB_BYTES: Final = 1 << 12


class Tape:
    """What is left of the bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def is_at_end(self) -> bool:
        """Nothing is left but zeros."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """A number from 0 to 255."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def number(self) -> int:
        """A number of 64 bits, in 1 to 9 bytes: the first says how many follow."""
        size = self.byte() % 9
        return int.from_bytes(self.take(size))

    def take(self, size: int) -> bytes:
        """So many bytes, or fewer at the end."""
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def blob(self) -> bytes:
        """Two bytes of a length, and so many bytes."""
        return self.take(int.from_bytes(self.take(2)) % _BLOB_BYTES)

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))

    def name(self) -> bytes:
        """One name that a directory can have."""
        which = self.byte()
        if which != OWN:
            return NAMES[which % len(NAMES)]
        name = self.blob().replace(b"/", b"_").replace(b"\0", b"_")[:255]
        return b"_" if name in (b"", b".", b"..") else name

    def path(self) -> tuple[bytes, ...]:
        """One to four names."""
        return tuple(self.name() for _ in range(1 + self.byte() % 4))


def spelled_number(number: int) -> bytes:
    """What `Tape.number` reads as this one."""
    raw = number.to_bytes((number.bit_length() + 7) // 8)
    return bytes([len(raw)]) + raw


def spelled_blob(data: bytes) -> bytes:
    """What `Tape.blob` reads as these bytes. ValueError where they are too many."""
    if len(data) >= _BLOB_BYTES:
        raise ValueError(f"{len(data)} bytes, expected fewer than {_BLOB_BYTES}")
    return len(data).to_bytes(2) + data


def spelled_path(path: tuple[bytes, ...]) -> bytes:
    """What `Tape.path` reads as these names, of which there are four at most."""
    spelled = bytes([len(path) - 1])
    for name in path:
        if name in NAMES:
            spelled += bytes([NAMES.index(name)])
        else:
            spelled += bytes([OWN]) + spelled_blob(name)
    return spelled
