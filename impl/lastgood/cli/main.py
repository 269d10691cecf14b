"""The command line, put together: importing the modules of its commands adds them."""

from lastgood.cli import guard_commands, purge_command, write_commands
from lastgood.cli.read_commands import cli

__all__ = ("cli", "guard_commands", "purge_command", "write_commands")
