"""Makes the virtual environment that the Makefile's targets run in.

Usage: python3 scripts/setup_venv.py [--venv DIR] [--extras A,B] [--groups C,D]

Everything comes from pyproject.toml: the extras, the dependency groups (read here, because the
pip of Python 3.11 does not know `--group`) and the build requirements (so that `make wheel` and
the test of the wheel need no network).  A stamp in the environment holds the digest of all that
was asked for, and the version of Python; while it is the same, a second run does nothing and says
nothing.  An environment that another version of Python made is removed and made anew.

Exit status: 0 ready, 3 this machine cannot (the reason is printed).
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
INSTALL_LIMIT_S = 1800
START_LIMIT_S = 60


def fail(message):
    """Ends the program with status 3 and one line that says why."""
    sys.stderr.write(f"setup: {message}\n")
    raise SystemExit(3)


def split(names):
    """The names in a comma-separated list; an empty text holds none."""
    return [name for name in names.split(",") if name]


def requirements(project, groups):
    """The build requirements and those of the named dependency groups, in file order."""
    wanted = list(project["build-system"]["requires"])
    for group in groups:
        if group not in project["dependency-groups"]:
            fail(f"pyproject.toml has no dependency group {group!r}")
        wanted += project["dependency-groups"][group]
    return wanted


def version_of(venv):
    """The version of the Python in the environment, as "3.11"; empty where none starts there."""
    ask = "import sys; print(sys.version_info[0], sys.version_info[1], sep='.')"
    try:
        done = subprocess.run(
            [str(venv / "bin" / "python"), "-c", ask],
            capture_output=True,
            text=True,
            timeout=START_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def remove(venv, found, wanted):
    """Removes an environment of another Python.  What is no environment is left alone."""
    if not (venv / "pyvenv.cfg").is_file():
        fail(f"{venv} is there and is no environment of Python; name another with VENV=...")
    had = f"Python {found}" if found else "no Python that starts"
    sys.stdout.write(f"setup: {venv.name} has {had}; it is made anew for Python {wanted}\n")
    sys.stdout.flush()
    shutil.rmtree(venv)


def make(venv):
    """Makes the environment with its own pip."""
    sys.stdout.write(f"setup: making {venv.name} with Python {sys.version.split()[0]}\n")
    sys.stdout.flush()
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(venv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=INSTALL_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout.decode(errors="replace"))
        fail(
            "`python -m venv` failed, see above. On Debian and Ubuntu the package python3-venv "
            f"is needed. Delete {venv} before the next try."
        )


def install(venv, extras, wanted):
    """Installs the tools, then this project itself, editable, with its extras."""
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    sys.stdout.write(f"setup: installing {', '.join(extras) or 'no'} extras and their tools\n")
    sys.stdout.flush()
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--no-input"]
    steps = [[*pip, *wanted], [*pip, "--editable", target]]
    for step in steps:
        if subprocess.run(step, timeout=INSTALL_LIMIT_S, check=False, cwd=ROOT).returncode != 0:
            fail("pip could not install what is needed, see above. Nothing outside .venv changed.")


def main():
    """Makes or completes the environment, unless its stamp says that it is complete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=".venv")
    parser.add_argument("--extras", default="")
    parser.add_argument("--groups", default="")
    asked = parser.parse_args()
    if sys.version_info < OLDEST:
        fail(
            f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, {sys.executable} is "
            f"{sys.version.split()[0]}. Name another one: make PYTHON=python3.12 ..."
        )
    import tomllib  # late: an older Python must reach the message above

    text = (ROOT / "pyproject.toml").read_bytes()
    extras, groups = split(asked.extras), split(asked.groups)
    venv = ROOT / asked.venv
    wanted = requirements(tomllib.loads(text.decode()), groups)
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    key = "\n".join([hashlib.sha256(text).hexdigest(), str(ROOT), python, *extras, "", *groups])
    # One stamp for each selection, so that `make demo` and `make test` do not undo each other.
    name = hashlib.sha256("\n".join([*extras, "", *groups]).encode()).hexdigest()[:12]
    stamp = venv / f"setup-{name}.stamp"
    if stamp.is_file() and stamp.read_text() == key:
        return
    found = version_of(venv)
    if found != python:
        if venv.exists() and any(venv.iterdir()):
            remove(venv, found, python)
        make(venv)
    install(venv, extras, wanted)
    stamp.write_text(key)


if __name__ == "__main__":
    main()
