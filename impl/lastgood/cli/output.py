"""The command line, what all commands share: their words, their exit statuses, their endings."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Final, NoReturn, ParamSpec

import click
from rich.console import Console
from rich.table import Table

from lastgood.errors import LastgoodError, StorageError, describe_error
from lastgood.format.names import MAX_NUMBER

EXIT_STATUS: Final = """
\b
Exit status:
  0  as expected (`latest`: a good group was found; what it fell back from is on stderr).
     A save that is going on, or that a crash has cut off before its MANIFEST, is no damage.
     One that is cut off inside its MANIFEST (the record form) looks like damage: look again,
     as it may be a save that ends now; or let a writer recover, which sets it aside
  1  damage was found, or nothing is loadable: content that does not match its manifest,
     a part or a manifest that is missing or that the disk cannot read; `prune` and `repair`
     leave no valid group;
     `diff` found a difference; `doctor` a weakness
  2  bad input: DIR is no store; or a group is malformed (a truncated or foreign manifest, a
     path that leaves the group, a symlink): any group for `ls` and `verify`, and for `latest`,
     `why`, `prune` and `repair` one of those that they rejected where nothing is loadable
  3  this machine cannot do it: an I/O error of the store's own directory, a permission (`ls`
     and `verify`: a group that this user may not read, where there is no damage), a deletion
     that the disk refuses, damage that `prune` or `repair` cannot set aside, a missing
     library, an output that cannot be written; or a newer
     version of lastgood has written what it would have to read (`ls` lists such a group as
     newer_format, which is no damage, and ends with 0)
  128 and the number of the signal that ended it, such as 130 after Ctrl-C
"""

P = ParamSpec("P")
_WIDEST: Final = 64
"""Of a column: what is longer, as a damaged part's path may be, shifts the rest of its line."""
_DONE: Final = "lastgood.done"


class OutputError(StorageError):
    """Standard output cannot be written. The message says what had been done by then."""


class _Console(Console):
    """A console that leaves a broken pipe to its caller; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def exits_with_status(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what lastgood raises into one line, true of what was changed, and its exit status.

    With `--json` the line is on standard output as well, as `{"error": …}`.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            command(*args, **kwargs)
        except OutputError as error:
            _fail(error, str(error), error.exit_status, as_json=False)
        except LastgoodError as error:
            _fail(error, str(error), error.exit_status, as_json)
        except OSError as error:
            where = f" at {error.filename!r}" if error.filename is not None else ""
            found = f"{describe_error(error)}{where}"
            _fail(error, f"the system refused: {found}. {_ending()}", 3, as_json)
        except MemoryError as error:
            _fail(error, f"this process has not enough memory. {_ending()}", 3, as_json)
        except KeyboardInterrupt as error:
            _fail(error, f"interrupted. {_ending()}", 128 + signal.SIGINT, as_json=False)

    return run


def note_done(what: str) -> None:
    """From here on an ending says this, in place of "Nothing was changed."."""
    click.get_current_context().meta[_DONE] = what


@contextlib.contextmanager
def writing_output() -> Iterator[None]:
    """Standard output is written in the block, and nothing else is. OutputError."""
    try:
        yield
    except BrokenPipeError:
        # Whoever read it has read enough, as `head` does. That is no fault of anybody's.
        _silence_output()
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        _silence_output()
        raise OutputError(
            f"standard output cannot be written: {describe_error(error)}. {_ending()}"
        ) from error


def say(text: str = "") -> None:
    """Print a line for people. OutputError where standard output does not take it."""
    with writing_output():
        click.echo(text)


def say_strangers(used_bytes: int | None) -> None:
    """Say that a quarantine holds what is not lastgood's, if it does. OutputError."""
    if used_bytes:
        whose = "are no entry of lastgood's, which never deletes them"
        say(f"{used_bytes:,} bytes in quarantine {whose}")


def say_path(path: str) -> None:
    """Print a path for programs: its very bytes, whatever the encoding of the output is."""
    with writing_output():
        click.echo(os.fsencode(path))


def say_table(table: Table) -> None:
    """Print a table. OutputError."""
    with writing_output():
        _Console().print(table)


def say_columns(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: int = 0,
    colours: Sequence[str | None] = (),
) -> None:
    """Print a table of any length; the first `numbers` of its columns are flush right. OutputError.

    A line is as long as it has to be, and a very long text makes no other line longer. `colours`
    are those of the lines, where a terminal shows any.
    """
    table = [headings, *([printable(text) for text in row] for row in rows)]
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*table, strict=True)]
    sides = [">" if column < numbers else "<" for column in range(len(widths))]
    form = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    lines = [form.format(*row).rstrip() for row in table]
    shown = [click.style(lines[0], bold=True)]
    for line, colour in zip(lines[1:], colours or [None] * len(rows), strict=True):
        shown.append(line if colour is None else click.style(line, fg=colour))
    say("\n".join(shown))


def print_json(value: dict[str, Any]) -> None:
    """Print a value for programs. OutputError."""
    say(json.dumps(value, indent=2, sort_keys=True))


def complain(text: str) -> None:
    """Print one line on standard error; where that is gone, there is nobody to tell."""
    with contextlib.suppress(OSError):
        click.echo(f"lastgood: {text}", err=True)


def printable(text: str) -> str:
    """Text that a stranger has chosen, without what a terminal would obey or cannot show."""
    return text if text.isprintable() else json.dumps(text)


def format_time(when_s: int | None) -> str:
    """A Unix time for people, in UTC; as a number where no calendar has it."""
    if when_s is None:
        return "at a time unknown"
    try:
        at = datetime.datetime.fromtimestamp(when_s, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"at {when_s} s"
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


@contextlib.contextmanager
def ending_by_signal() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as an exception does: what it made is cleaned up.

    A second signal meanwhile is not heard.
    """
    numbers = (signal.SIGTERM, signal.SIGHUP)

    def leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a handler's shape
        for each in (*numbers, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {signal.SIGINT: signal.getsignal(signal.SIGINT)}
    before |= {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _directory(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value:
        raise click.BadParameter(
            "it is empty, expected the path of a directory (is a variable of the shell unset? "
            "The current directory is '.'). Nothing was changed."
        )
    return value


def positive(_context: click.Context, _parameter: click.Parameter, value: float | None) -> Any:
    """A number of seconds that is a number and not infinite."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(
            f"it is {value}, expected seconds, more than 0. Nothing was changed."
        )
    return value


DIRECTORY: Final = click.argument("directory", metavar="DIR", callback=_directory)
AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")


class _Generation(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # click 8.1: none
    """The number of a save, as a group's name carries it."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.isdecimal()) or not len(text) <= len(str(MAX_NUMBER)):
            self.fail(
                f"{text[:40]!r} is no generation, expected a number such as the 3 of "
                "gen-00000003-step-00000030. Nothing was changed.",
                param,
                ctx,
            )
        return int(text)


GENERATION: Final = _Generation()


def _ending() -> str:
    """The last sentence of an error: it names what was changed until now."""
    context = click.get_current_context(silent=True)
    done = context.meta.get(_DONE) if context is not None else None
    return "Nothing was changed." if done is None else str(done)


def _fail(error: BaseException, message: str, status: int, as_json: bool) -> NoReturn:
    complain(message)
    if as_json:
        print_json_error(type(error).__name__, message, status)
    sys.exit(status)


def print_json_error(kind: str, message: str, status: int) -> None:
    """Print an error for programs, where standard output takes it."""
    with contextlib.suppress(OutputError):
        print_json({"error": {"kind": kind, "message": message, "exit_status": status}})


def _silence_output() -> None:
    """Redirect standard output, so that the interpreter does not write to it again at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
