"""The command line, put together: importing the modules of its commands adds them."""

from lastgood.cli import write_commands
from lastgood.cli.read_commands import cli

__all__ = ("cli", "write_commands")
