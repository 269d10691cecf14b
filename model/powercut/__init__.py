"""An executable model of what a file system may leave after a crash.

The model is `powercut.rules`; docs/README.md says where to read on.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from powercut.crash.space import Crash, CrashSpace
    from powercut.crash.torn_writes import even_cuts, no_cuts
    from powercut.errors import (
        IllegalCrashError,
        PowercutError,
        ProfileError,
        SubjectError,
        TraceError,
    )
    from powercut.filesystem.state import State, run_program
    from powercut.profile import Profile, load_profile, profile_names
    from powercut.trace.trace_file import Trace, read_trace, render_trace

__all__ = [
    "Crash",
    "CrashSpace",
    "IllegalCrashError",
    "PowercutError",
    "Profile",
    "ProfileError",
    "State",
    "SubjectError",
    "Trace",
    "TraceError",
    "even_cuts",
    "load_profile",
    "no_cuts",
    "profile_names",
    "read_trace",
    "render_trace",
    "run_program",
]

_HOMES = {
    "crash.space": ("Crash", "CrashSpace"),
    "errors": (
        "IllegalCrashError",
        "PowercutError",
        "ProfileError",
        "SubjectError",
        "TraceError",
    ),
    "crash.torn_writes": ("even_cuts", "no_cuts"),
    "profile": ("Profile", "load_profile", "profile_names"),
    "filesystem.state": ("State", "run_program"),
    "trace.trace_file": ("Trace", "read_trace", "render_trace"),
}


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is asked for.

    So the command has taken charge of Ctrl-C before anything else is loaded.
    """
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"powercut.{home}"), name)
    raise AttributeError(f"module 'powercut' has no attribute {name!r}")
