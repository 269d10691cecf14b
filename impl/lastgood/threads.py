"""Threads that share work with the one that asks for it, and that Ctrl-C cannot confuse.

Python raises KeyboardInterrupt between any two steps of the main thread, inside `threading`'s own
locks as well: a wait for a future may end in RuntimeError then, and a join never. What waits here
waits for a bare lock, which is one step, and holds none that a worker needs. Where the machine has
no room for a thread, the one that asks does the work itself.
"""

from __future__ import annotations

import _thread
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Generic, TypeVar

SHARED_BYTES: Final = 1 << 20
"""Less than that in all is done sooner than threads for it are started."""

_Given = TypeVar("_Given")
_Answer = TypeVar("_Answer")


class Crew:
    """Threads that all do the same work, as far as they can be started."""

    def __init__(self) -> None:
        self._running: list[_thread.LockType] = []
        self._started: list[int] = []

    def start(self, work: Callable[[], object], most: int) -> bool:
        """Start threads, up to the first for which there is no room. True if there is one."""
        while len(self._started) < most:
            running = _thread.allocate_lock()
            running.acquire()
            self._running.append(running)
            try:
                # One step of Python: no thread is started that nobody knows of.
                self._started.extend(
                    map(_thread.start_new_thread, (_do_and_release,), ((work, running),))
                )
            except (RuntimeError, MemoryError):
                break
        return bool(self._started)

    def wait(self) -> None:
        """Wait until all have ended. It may be called again after Ctrl-C."""
        for running, _ in zip(self._running, self._started, strict=False):
            with running:
                pass


class Task(Generic[_Answer]):
    """A call, and its outcome once it was made."""

    def __init__(self, call: Callable[[], _Answer]) -> None:
        self._call = call
        self._answers: list[_Answer] = []
        self._error: BaseException | None = None
        self._running = _thread.allocate_lock()
        self._running.acquire()

    def run(self) -> None:
        """Make the call."""
        try:
            self._answers.append(self._call())
        except BaseException as error:
            self._error = error
        finally:
            self._running.release()

    def result(self) -> _Answer:
        """The answer, as soon as it is there; the error of the call."""
        with self._running:
            pass
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback has this task, and all that its call holds
        return self._answers[0]


class Helper:
    """One more thread for the length of a block; without room for it, the caller does its work."""

    def __init__(self) -> None:
        self._todo: SimpleQueue[Task[object] | None] = SimpleQueue()
        self._crew, self._is_alone = Crew(), True

    def __enter__(self) -> Helper:
        todo = self._todo  # the thread does not know of the helper, whose end it has to hear of

        def work() -> None:
            while (task := todo.get()) is not None:
                task.run()

        self._is_alone = not self._crew.start(work, 1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cancel()
        self._crew.wait()

    def __del__(self) -> None:
        """Let the thread go where Ctrl-C came between the start of the block and its end."""
        self._cancel()

    def submit(self, call: Callable[[], object]) -> Task[object]:
        """Have something done, after what was submitted before."""
        task = Task(call)
        if self._is_alone:
            task.run()
        else:
            self._todo.put(task)
        return task

    def _cancel(self) -> None:
        """Forget what was not begun, and end the thread after what was."""
        try:
            while True:
                self._todo.get_nowait()
        except Empty:
            self._todo.put(None)


def share(
    call: Callable[[_Given], _Answer | None],
    given: Sequence[_Given],
    threads: int,
    *,
    meanwhile: Callable[[], None] = lambda: None,
    stop: Callable[[], None] = lambda: None,
) -> list[_Answer | None]:
    """The answers in the order of what was given, up to the first that is not None.

    So many threads share the calls with this one, which does `meanwhile` first. The first error or
    answer begins no other call. An error of a call is raised where no answer comes before it; one
    of this thread, such as Ctrl-C, at once: `stop` is for those that have begun. All have ended
    when this returns or raises.
    """
    waiting = deque(enumerate(given))
    answers: list[_Answer | None] = [None] * len(given)
    errors: dict[int, BaseException] = {}

    def work(caught: type[BaseException] = BaseException) -> None:
        while waiting:
            try:
                number, each = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                answers[number] = call(each)
            except caught as error:
                errors[number] = error
            if number in errors or answers[number] is not None:
                waiting.clear()

    crew = Crew()
    try:
        crew.start(work, min(threads, len(given)))
        meanwhile()
        work(Exception)
        crew.wait()
    except BaseException:
        waiting.clear()
        stop()
        crew.wait()
        raise
    for number, answer in enumerate(answers):
        if number in errors:
            try:
                raise errors[number]
            finally:
                errors.clear()  # their tracebacks have this dictionary
        if answer is not None:
            return answers[: number + 1]
    return answers


def _do_and_release(work: Callable[[], object], running: _thread.LockType) -> None:
    try:
        work()
    finally:
        running.release()
