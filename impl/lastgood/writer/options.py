"""The options of a writer: how it saves and looks after its store."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from attrs import frozen

from lastgood.format.chunks import Chunking
from lastgood.parts.thread_pool import ParallelMap
from lastgood.protocol.executor import MAX_OPEN_FILES, StepObserver
from lastgood.protocol.plan import Form, Mode


@frozen
class WriterOptions:
    """The configuration of a `Writer`, shared by the objects that it is made of.

    `new_id` gives a fresh word for each attempt. `top` is the last directory above the store that
    an opening syncs. `algorithm` digests the parts, and `chunking` is how they are cut. `workers`
    threads write the parts of a save, and each has `max_open_files` small files open at most.
    `parallel_map` applies a check to many parts. `now_s` is the Unix time that a manifest or a
    report notes, or None. `observe` is told of each step of a save and, by `clock`, of its
    seconds. With `reports`, a report is written on whatever moves to quarantine.
    """

    mode: Mode
    form: Form
    new_id: Callable[[], str]
    top: str = "/"
    algorithm: str = "sha256"
    chunking: Chunking | None = None
    workers: int = 1
    max_open_files: int = MAX_OPEN_FILES
    parallel_map: ParallelMap = map
    now_s: Callable[[], float | None] = lambda: None
    clock: Callable[[], float] = lambda: 0.0
    observe: StepObserver = lambda _step, _seconds: None
    reports: bool = True


def weakly(method: Callable[..., None]) -> Callable[..., None]:
    """A bound method without a cycle that would keep its object, and a lease, alive."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> None:
        alive = reference()
        if alive is not None:
            alive(*arguments)

    return call
