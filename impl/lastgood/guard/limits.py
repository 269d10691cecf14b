"""Limits on what a hostile file can cost its reader."""

from __future__ import annotations

from attrs import asdict, frozen

from lastgood.errors import UsageError


@frozen
class Limits:
    """The bounds on what one file may cost.

    `file_bytes` is the longest file that is read.  `memory_bytes` and `seconds` hold for a child
    process that loads a small file; a file of n bytes gets 4 n bytes more, and a second more for
    each `bytes_per_second`.  `start_seconds` is what the child may take to import its library.
    `answer_bytes` is the longest answer that is read from it.  `tensors` is the largest number of
    tensors in one file.
    """

    file_bytes: int = 1 << 40
    memory_bytes: int = 1 << 30
    seconds: float = 60.0
    bytes_per_second: int = 20 << 20
    start_seconds: float = 180.0
    answer_bytes: int = 16 << 20
    tensors: int = 100_000

    def __attrs_post_init__(self) -> None:
        for name, value in asdict(self).items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not value > 0:
                raise UsageError(f"the limit {name} is {value!r}, expected more than 0.")

    def memory_for(self, size_bytes: int) -> int:
        """The memory that a child may take for a file of that size, in bytes."""
        return self.memory_bytes + 4 * size_bytes

    def seconds_for(self, size_bytes: int) -> float:
        """The time that a child may take for a file of that size."""
        return self.seconds + size_bytes / self.bytes_per_second
