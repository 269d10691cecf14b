"""The `powercut` command; `python -m powercut` is the same."""

import sys


def main() -> None:
    """Run the command line, or say which extra it needs (exit status 3)."""
    try:
        import click

        from powercut.cli import powercut
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.stderr.write(
            f"powercut: the command line needs {error.name}, which is not installed.\n"
            "Install the extra: pip install 'lastgood[check]'. Nothing was run.\n"
        )
        sys.exit(3)
    try:
        status = powercut(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("powercut: interrupted; nothing of it is left behind\n")
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
