"""The command line as tests call it, in this process: an exception that it lets out is raised."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from lastgood.cli.main import cli


def run(*arguments: str) -> Result:
    """`lastgood ARGUMENTS…`"""
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)


def said(*arguments: str) -> dict[str, Any]:
    """What a command says with --json."""
    found: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return found
