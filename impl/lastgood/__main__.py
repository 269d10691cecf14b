"""`lastgood` and `python -m lastgood`: the command line, which needs the extra `cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exit status 3 where its libraries are missing."""
    try:
        from lastgood.cli import cli
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("click", "rich"):
            raise
        sys.stderr.write(
            f"lastgood: the command line needs {error.name}, which is not installed. "
            "Install the extra: pip install 'lastgood[cli]'. The library works without it.\n"
        )
        sys.exit(3)
    cli()


if __name__ == "__main__":
    main()
