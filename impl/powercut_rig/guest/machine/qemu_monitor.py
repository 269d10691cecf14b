"""QEMU's monitor: the few commands by which a booted machine is written to files, and read back."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, Final

from powercut_rig.errors import RigError

ANSWER_S: Final = 60.0
_RECEIVE_BYTES: Final = 1 << 16
_POLL_S: Final = 0.005


class Monitor:
    """A talk in QMP over a socket; RigError for a refusal, a silence and nonsense."""

    def __init__(self, port: socket.socket) -> None:
        self._port = port
        self._rest = b""
        self._port.settimeout(ANSWER_S)

    def greet(self) -> None:
        """Begin; a saved machine's memory is a file of its own, and no part of the stream."""
        self._message()
        self._execute("qmp_capabilities")
        capability = {"capability": "x-ignore-shared", "state": True}
        self._execute("migrate-set-capabilities", capabilities=[capability])

    def save(self, uri: str) -> None:
        """Stop the machine and write its devices there."""
        self._execute("stop")
        self._execute("migrate", uri=uri)
        self._until_done()

    def load(self, uri: str) -> None:
        """Read its devices from there, and let the machine go on."""
        self._execute("migrate-incoming", uri=uri)
        self._until_done()
        self._execute("cont")

    def _until_done(self) -> None:
        end = time.monotonic() + ANSWER_S
        while (status := self._execute("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled") or time.monotonic() > end:
                raise RigError(f"QEMU could not save or restore a guest: {status}.")
            time.sleep(_POLL_S)

    def close(self) -> None:
        """End the talk."""
        self._port.close()

    def _execute(self, command: str, **arguments: Any) -> dict[str, Any]:
        message = json.dumps({"execute": command, "arguments": arguments})
        try:
            self._port.sendall(message.encode())
        except OSError as error:
            raise RigError(f"QEMU ended at `{command}`: {error}.") from error
        while True:
            answer = self._message()
            if "error" in answer:
                raise RigError(f"QEMU refused `{command}`: {answer['error']}"[:500])
            if "return" in answer:
                found = answer["return"]
                return found if isinstance(found, dict) else {}

    def _message(self) -> dict[str, Any]:
        while b"\n" not in self._rest:
            try:
                piece = self._port.recv(_RECEIVE_BYTES)
            except OSError as error:
                raise RigError(f"QEMU's monitor said nothing: {error}.") from error
            if not piece:
                raise RigError("QEMU ended before its monitor answered.")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            found = json.loads(line)
        except ValueError as error:
            raise RigError(f"QEMU's monitor said {line[:200]!r}.") from error
        return found if isinstance(found, dict) else {}
