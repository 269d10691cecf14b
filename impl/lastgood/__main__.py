"""`lastgood` and `python -m lastgood`: the command line, which needs the extra `cli`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line; exit status 3 where its libraries are missing, 130 after Ctrl-C."""
    try:
        _run()
    except KeyboardInterrupt:
        # Before a command is at work, or after it said what it did: what it did, it says itself.
        if sys.stderr is not None:
            sys.stderr.write("lastgood: interrupted.\n")
        sys.exit(128 + signal.SIGINT)


def _run() -> None:
    try:
        import click

        from lastgood.cli.main import cli
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("click", "rich"):
            raise
        sys.stderr.write(
            f"lastgood: the command line needs {error.name}, which is not installed. "
            "Install the extra: pip install 'lastgood[cli]'. The library works without it.\n"
        )
        sys.exit(3)
    from lastgood.cli.output import OutputError, complain, print_json_error, writing_output
    from lastgood.errors import UsageError

    try:
        with writing_output():
            status = cli(prog_name="lastgood", standalone_mode=False)
    except OutputError as error:
        complain(str(error))
        sys.exit(error.exit_status)
    except click.ClickException as error:
        error.show()
        # No command has begun, so none knows of its --json.
        if "--json" in sys.argv[1:]:
            print_json_error(UsageError.__name__, error.format_message(), error.exit_code)
        sys.exit(error.exit_code)
    except click.Abort:
        raise KeyboardInterrupt from None
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
