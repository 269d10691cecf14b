"""The host's side of the talk with a guest: one request at a time, each with a deadline."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any, Final

from attrs import define

from powercut_rig.errors import RigError
from powercut_rig.guest.machine import messages
from powercut_rig.system.deadline import DeadlineError

REQUEST_S: Final = 30.0
"""How long a guest may take for one request before it counts as hung."""

_MORE_S: Final = 1.0
_LOOK_S: Final = 1.0
_RECEIVE_BYTES: Final = 1 << 18


class GuestLostError(DeadlineError):
    """The guest hung, died, or was left in the middle of an answer; it has to be started anew."""


@define
class _Wait:
    """Until when an answer is waited for, and who may say that it is not too late then."""

    end: float
    go_on: Callable[[], bool]


class Connection:
    """Requests to the agent in a guest, over a socket.

    A request that was broken off, by its deadline or by any error, leaves the talk in a state that
    nobody knows: every later one raises `GuestLostError` at once.  `meanwhile` is called before
    each request, and each second while one is waited for.
    """

    def __init__(self, port: socket.socket, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._port = port
        self._meanwhile = meanwhile
        self._lost = ""

    @property
    def lost(self) -> bool:
        """No request will be answered any more."""
        return bool(self._lost)

    def request(
        self,
        do: str,
        *arguments: Any,
        timeout_s: float = REQUEST_S,
        go_on: Callable[[], bool] = lambda: False,
    ) -> Any:
        """The agent's answer; when the time is over, `go_on` says whether to wait a little more.

        OSError as the guest's system call raised it; `RigError` where the agent refused; raises
        `GuestLostError` where no answer came in time.
        """
        if self._lost:
            raise GuestLostError(self._lost)
        self._meanwhile()
        message = messages.packed({"do": do, "with": list(arguments)})
        self._lost = f"its answer to `{do}` was not waited for"
        wait = _Wait(time.monotonic() + timeout_s, go_on)
        try:
            self._port.settimeout(timeout_s)
            self._port.sendall(message)
            answer = messages.receive(lambda count: self._read(count, wait))
        except TimeoutError as error:
            self._lost = f"no answer to `{do}` within {timeout_s:g} s"
            raise GuestLostError(self._lost) from error
        except (EOFError, OSError, messages.BadMessageError) as error:
            self._lost = f"it ended, or answered with nonsense, at `{do}`: {error}"
            raise GuestLostError(self._lost) from error
        self._lost = ""
        return _result(do, answer)

    def _read(self, count: int, wait: _Wait) -> bytes:
        while True:
            left = wait.end - time.monotonic()
            try:
                if left <= 0:
                    raise TimeoutError
                self._port.settimeout(min(left, _LOOK_S))
                return self._port.recv(min(count, _RECEIVE_BYTES))
            except TimeoutError:
                self._meanwhile()
                if left > _LOOK_S:
                    continue
                if not wait.go_on():
                    raise
                wait.end = time.monotonic() + _MORE_S

    def close(self) -> None:
        """End the talk."""
        self._lost = self._lost or "it was stopped"
        self._port.close()


def _result(do: str, answer: Any) -> Any:
    if not isinstance(answer, dict):
        raise RigError(f"The guest answered `{do}` with {str(answer)[:200]!r}.")
    if "ok" in answer:
        return answer["ok"]
    if isinstance(answer.get("errno"), int):
        raise OSError(answer["errno"], str(answer.get("error"))[:500])
    raise RigError(f"The guest could not `{do}`: {answer.get('kind')}: {answer.get('error')}"[:800])
