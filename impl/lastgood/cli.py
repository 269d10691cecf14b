"""The command line, put together: importing the modules of its commands adds them."""

from lastgood import cli_changing
from lastgood.cli_reading import cli

__all__ = ("cli", "cli_changing")
