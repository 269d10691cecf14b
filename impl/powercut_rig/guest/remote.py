"""The host's side of what acts in a guest: a runner of ops, and a subject's disk."""

from __future__ import annotations

import re
from itertools import count
from typing import Any, Final

from attrs import astuple, frozen

from powercut.filesystem.ops import Op
from powercut.simulation.subject import Plan
from powercut_rig.errors import RigError
from powercut_rig.guest.machine.op_codec import op_to
from powercut_rig.guest.session import GuestSession
from powercut_rig.mounted.rooted_disk import ForwardingDisk
from powercut_rig.mounted.writeback import WriteBack

_NUMBERS: Final = count(1)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def _no(value: Any, what: str) -> RigError:
    """The guest is not trusted: what it answers may be anything."""
    return RigError(f"The guest answered {str(value)[:200]!r}; expected {what}.")


@frozen
class RemoteOpRunner:
    """Performs ops in the guest of a session; see `powercut_rig.mounted.op_runner.OpRunner`."""

    session: GuestSession

    def perform(self, op: Op) -> None:
        """See `OpRunner.perform`."""
        self.session.request("perform", op_to(op))

    def write_back(self, item: WriteBack) -> None:
        """See `OpRunner.write_back`."""
        self.session.request("write_back", list(astuple(item)))

    def sync(self) -> None:
        """See `OpRunner.sync`."""
        self.session.request("sync")

    def close(self) -> None:
        """See `OpRunner.close`."""
        self.session.request("close")


class RemoteDisk(ForwardingDisk):
    """The disk that a subject uses in production, made in the guest, below the mount there.

    It is made anew there at its first call, by its class and without arguments.
    """

    def __init__(self, session: GuestSession, plan: Plan) -> None:
        kind = type(plan.real_disk())
        self._session = session
        self._made_there = [next(_NUMBERS), kind.__module__, kind.__qualname__]
        session.provide(kind.__module__)

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._session.request("call", self._made_there, method, list(arguments))

    def kind(self, path: str) -> str:
        """See `Disk.kind`; here and below, with the answer checked."""
        return self._text(self._call("kind", path), "a kind")

    def names(self, path: str) -> list[str]:
        """See `Disk.names`."""
        names = self._call("names", path)
        if not isinstance(names, list):
            raise _no(names, "a list of names")
        for name in names:
            if self._text(name, "a name") in ("", ".", "..") or "/" in name or "\0" in name:
                raise _no(name, "the name of an entry")
        return names

    def read(self, path: str, limit_bytes: int) -> bytes:
        """See `Disk.read`."""
        data = self._call("read", path, limit_bytes)
        if not isinstance(data, bytes):
            raise _no(data, "bytes")
        if len(data) > limit_bytes:
            raise RigError(f"The guest read {len(data)} B where at most {limit_bytes} were asked.")
        return data

    def digest(self, path: str, limit_bytes: int) -> tuple[int, str]:
        """See `Disk.digest`."""
        found = self._call("digest", path, limit_bytes)
        match found:
            case [int(size), str(digest)] if 0 <= size <= limit_bytes and type(size) is int:
                if _SHA256.fullmatch(digest):
                    return size, digest
        raise _no(found, "a size within the limit and a digest")

    def _text(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise _no(value, what)
        return value
