"""The `powercut` command; `python -m powercut` is the same."""

import errno
import io
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

CANNOT_RUN = 3
INTERRUPTED = 130


def main() -> None:
    """Run the command line, or say which extra it needs (exit status 3).

    Exit status 3 as well where the output cannot be written: no other status can be trusted then.
    """
    out, err = _Watched(sys.stdout), _Watched(sys.stderr)
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    status = CANNOT_RUN
    try:
        status = _run()
        out.flush()
    except KeyboardInterrupt:
        # Here too while the modules are being loaded.
        _complain("interrupted; nothing of it is left behind")
        status = INTERRUPTED
    except OSError:
        if out.failed is None and err.failed is None:
            raise
    failed = out.failed or err.failed
    if failed is not None:
        status = CANNOT_RUN
        if failed.errno != errno.EPIPE:  # else nobody reads it any more
            _complain(f"the output cannot be written: {failed.strerror or failed}. It is not whole")
    for stream in (out, err):
        stream.give_up_if_failed()
    sys.exit(status)


def _run() -> int:
    """The exit status of the command. OSError where something could not be written."""
    try:
        import click

        from powercut.cli.commands import powercut
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        _complain(
            f"the command line needs {error.name}, which is not installed.\n"
            "Install the extra: pip install 'lastgood[check]'. Nothing was run."
        )
        return CANNOT_RUN
    try:
        status = powercut(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort as abort:
        raise KeyboardInterrupt from abort
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        status = end.code
    return status if isinstance(status, int) else 0


class _Watched:
    """A stream for output that remembers why it could not be written.

    Names from a file or a disk may hold what the encoding does not have: those are escaped.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = io.StringIO() if stream is None else stream
        self.failed: OSError | None = None
        if isinstance(self._stream, io.TextIOWrapper):
            self._stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """As of the stream."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self.failed = error
            raise

    def flush(self) -> None:
        """As of the stream."""
        try:
            self._stream.flush()
        except OSError as error:
            self.failed = error
            raise

    def give_up_if_failed(self) -> None:
        """Forget the stream where it failed: it would fail once more when Python ends."""
        if self.failed is not None:
            self._stream = io.StringIO()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _complain(message: str) -> None:
    with suppress(OSError):  # where there is nowhere to say it, the exit status does
        sys.stderr.write(f"powercut: {message}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    main()
