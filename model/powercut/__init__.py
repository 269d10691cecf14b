"""An executable model of what a file system may leave after a crash.

The model is `powercut.rules`; docs/README.md says where to read on.
"""

from powercut.crash import Crash, CrashSpace
from powercut.errors import (
    IllegalCrashError,
    PowercutError,
    ProfileError,
    SubjectError,
    TraceError,
)
from powercut.pieces import even_cuts, no_cuts
from powercut.profile import Profile, load_profile, profile_names
from powercut.state import State, run_program
from powercut.trace import Trace, read_trace, render_trace

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
