"""A FUSE server of one disk file, spoken over /dev/fuse itself.

There is no libfuse between: a request is one read, its answer one write, so the order in which
the disk saw things is the order of this loop.  The server shares two memory files with the
rig's worker: the disk's flat content, and the log.  It knows two modes:

* `load`   writes change the flat content (mkfs, set-up);
* `record` they change it and are appended to the log, each before it is acknowledged.

A second file, `control`, takes commands.  A command is a write like any other and waits its
turn in the same queue, so a mark stands in the log after each write that was issued before it.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import time
from typing import Final

CHUNK_BYTES: Final = 4096

DISK_NAME: Final = "disk"
CONTROL_NAME: Final = "control"

# Commands: one letter, then a payload.
COMMAND_LOAD: Final = b"L"
COMMAND_RECORD: Final = b"R"
COMMAND_MARK: Final = b"M"

# Log entries: kind, offset in bytes, length in bytes, nanoseconds of the monotonic clock when it
# came; then the bytes of a write or the mark.
LOG_ENTRY: Final = struct.Struct("<BQIQ")
LOG_WRITE: Final = 1
LOG_FLUSH: Final = 2
LOG_MARK: Final = 3

MAX_IO_BYTES: Final = 1 << 20

_ROOT, _DISK, _CONTROL = 1, 2, 3
_NODES: Final = {DISK_NAME.encode(): _DISK, CONTROL_NAME.encode(): _CONTROL}

_IN: Final = struct.Struct("<IIQQIIIHH")
_OUT: Final = struct.Struct("<IiQ")
_INIT_IN: Final = struct.Struct("<IIII")
_INIT_OUT: Final = struct.Struct("<IIIIHHIIHHIIH22x")
_IO_IN: Final = struct.Struct("<QQII")
_WRITE_OUT: Final = struct.Struct("<II")
_ATTR: Final = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY_HEAD: Final = struct.Struct("<QQQQII")
_ATTR_HEAD: Final = struct.Struct("<QII")
_OPEN_OUT: Final = struct.Struct("<QIi")
_IO_IN_BYTES: Final = 40

_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE = 1, 2, 3, 4, 14, 15, 16
_RELEASE, _FSYNC, _FLUSH, _INIT, _INTERRUPT, _DESTROY = 18, 20, 25, 26, 36, 38
_FALLOCATE, _BATCH_FORGET = 43, 42

_FLAG_BIG_WRITES: Final = 1 << 5
_FLAG_MAX_PAGES: Final = 1 << 22
_FOPEN_DIRECT_IO: Final = 1
_VALID_S: Final = 3600
_PROTOCOL: Final = (7, 31)


class DiskServer:
    """Serves one disk from `flat` over the open /dev/fuse descriptor until it is unmounted.

    Each flush of the disk takes `flush_s` seconds, in which nothing else is answered.
    """

    def __init__(self, fuse_fd: int, flat: mmap.mmap, log_fd: int, *, flush_s: float = 0.0) -> None:
        self._fd = fuse_fd
        self._flat = flat
        self._view = memoryview(flat)
        self._size_bytes = len(flat)
        self._log_fd = log_fd
        self._flush_s = flush_s
        self._mode = COMMAND_LOAD

    def serve(self) -> None:
        """Answer requests until the file system is unmounted or its connection is gone."""
        buffer = bytearray(MAX_IO_BYTES + 4096)
        view = memoryview(buffer)
        readv, unpack, fd = os.readv, _IN.unpack_from, self._fd
        while True:
            try:
                length = readv(fd, (buffer,))
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):  # request withdrawn
                    continue
                raise
            _, opcode, unique, node, *_ = unpack(buffer)
            if opcode == _READ and node == _DISK:
                self._read(unique, buffer)
            elif opcode == _WRITE:
                self._write(unique, node, buffer, view[40 + _IO_IN_BYTES : length])
            elif opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            else:
                self._other(opcode, unique, node, view[40:length])

    def _answer(self, unique: int, payload: bytes = b"", error: int = 0) -> None:
        self._send((_OUT.pack(16 + len(payload), -error, unique) + payload,))

    def _send(self, answer: tuple[bytes | memoryview, ...]) -> None:
        with contextlib.suppress(FileNotFoundError):  # the request was withdrawn meanwhile
            os.writev(self._fd, answer)

    def _read(self, unique: int, buffer: bytearray) -> None:
        _, offset, size, _ = _IO_IN.unpack_from(buffer, 40)
        size = max(0, min(size, self._size_bytes - offset))
        head = _OUT.pack(16 + size, 0, unique)
        self._send((head, self._view[offset : offset + size]))

    def _write(self, unique: int, node: int, buffer: bytearray, data: memoryview) -> None:
        _, offset, size, _ = _IO_IN.unpack_from(buffer, 40)
        if node == _CONTROL:
            self._command(bytes(data[:size]))
        elif node != _DISK or offset + size > self._size_bytes:
            self._answer(unique, error=errno.ENOSPC)
            return
        else:
            self._flat[offset : offset + size] = data[:size]
            if self._mode == COMMAND_RECORD:
                self._log(LOG_WRITE, offset, data[:size])
        self._answer(unique, _WRITE_OUT.pack(size, 0))

    def _command(self, command: bytes) -> None:
        letter, payload = command[:1], command[1:]
        if letter == COMMAND_MARK:
            self._log(LOG_MARK, 0, payload)
        else:
            self._mode = letter

    def _log(self, kind: int, offset: int, data: memoryview | bytes) -> None:
        parts = (LOG_ENTRY.pack(kind, offset, len(data), time.monotonic_ns()), data)
        if os.writev(self._log_fd, parts) != LOG_ENTRY.size + len(data):
            # Without room for the log a recording would be silently short: end here, loudly.
            raise OSError(errno.ENOSPC, "the rig's log ran out of memory")

    def _other(self, opcode: int, unique: int, node: int, body: memoryview) -> None:
        if opcode == _FSYNC:
            if self._flush_s and node == _DISK:
                time.sleep(self._flush_s)
            if self._mode == COMMAND_RECORD and node == _DISK:
                self._log(LOG_FLUSH, 0, b"")
            self._answer(unique)
        elif opcode == _INIT:
            self._answer(unique, _init_answer(body))
        elif opcode == _LOOKUP:
            found = _NODES.get(bytes(body).rstrip(b"\0"))
            if found is None:
                self._answer(unique, error=errno.ENOENT)
            else:
                head = _ENTRY_HEAD.pack(found, 0, _VALID_S, _VALID_S, 0, 0)
                self._answer(unique, head + self._attr(found))
        elif opcode in (_GETATTR, _SETATTR):
            self._answer(unique, _ATTR_HEAD.pack(_VALID_S, 0, 0) + self._attr(node))
        elif opcode == _OPEN:
            self._answer(unique, _OPEN_OUT.pack(node, _FOPEN_DIRECT_IO, 0))
        elif opcode in (_RELEASE, _FLUSH, _DESTROY):
            self._answer(unique)
        elif opcode == _FALLOCATE:
            # Discards and write-zeroes must come as plain writes, with their bytes.
            self._answer(unique, error=errno.EOPNOTSUPP)
        else:
            self._answer(unique, error=errno.ENOSYS)

    def _attr(self, node: int) -> bytes:
        folder = node == _ROOT
        size = 0 if folder else self._size_bytes
        mode = 0o40700 if folder else 0o100600
        links = 2 if folder else 1
        return _ATTR.pack(
            node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, CHUNK_BYTES, 0
        )


def _init_answer(body: memoryview) -> bytes:
    _, _, max_readahead, offered = _INIT_IN.unpack_from(body)
    flags = offered & (_FLAG_BIG_WRITES | _FLAG_MAX_PAGES)
    pages = MAX_IO_BYTES // 4096
    return _INIT_OUT.pack(
        *_PROTOCOL, max_readahead, flags, 16, 12, MAX_IO_BYTES, 1, pages, 0, 0, 0, 0
    )
