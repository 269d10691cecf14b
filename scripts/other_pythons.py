"""Runs the model's and the library's tests on each other Python that this machine has.

Usage: python3 scripts/other_pythons.py [--list] [PYTEST_ARGUMENT ...]

Looks for Python 3.11, 3.12 and 3.13, but for the one that runs this: by name in each folder of
PATH, and below pyenv's versions.  What is there by name and does not start, as a shim of pyenv may
not, is none.  Each gets an environment of its own, .venv-3.12 for one, and build/junit-3.12.xml.
Says first which it found; with --list it does no more.

Exit status: 0 all passed, or there is no other Python; 1 a test failed; 3 no environment for one.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
EXTRAS = "cli,check,train,digests"
TESTS = ("impl", "model", "stateful", "mutants", "litmus", "snapshots", "test_traces.py")
START_LIMIT_S = 60
TESTS_LIMIT_S = 1800


def is_python(path, version):
    """Tell if the program starts and is this version of Python."""
    ask = "import sys; print(sys.version_info[0], sys.version_info[1], sep='.')"
    try:
        done = subprocess.run(
            [str(path), "-c", ask],
            capture_output=True,
            text=True,
            timeout=START_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def candidates(version):
    """The places of that Python, in the order in which it is looked for."""
    for folder in os.get_exec_path():
        yield Path(folder) / f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)


def others():
    """Each other version with its Python, None where there is none."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for version in VERSIONS:
        if version != own:
            there = (path for path in candidates(version) if path.is_file())
            yield version, next((path for path in there if is_python(path, version)), None)


def say(sentence):
    """One line, at once."""
    sys.stdout.write(f"pythons: {sentence}\n")
    sys.stdout.flush()


def run(version, python, arguments):
    """The tests on one Python; the exit status of this program that they stand for."""
    venv, report = f".venv-{version}", f"build/junit-{version}.xml"
    setup = [str(python), "scripts/setup_venv.py", "--venv", venv]
    setup += ["--extras", EXTRAS, "--groups", "test"]
    if subprocess.run(setup, cwd=ROOT, check=False).returncode != 0:
        say(f"{version}: nothing was run: its environment could not be made, see above")
        return 3
    say(f"{version}: runs {', '.join(TESTS)}; not the rig, CrossHair, training and documents")
    tests = [str(ROOT / venv / "bin" / "python"), "-m", "pytest", f"--junitxml={report}"]
    tests += [*arguments, *(f"tests/{name}" for name in TESTS)]
    try:
        done = subprocess.run(tests, cwd=ROOT, timeout=TESTS_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        say(f"{version}: ended after {TESTS_LIMIT_S} s")
        return 1
    say(f"{version}: {'passed' if done.returncode == 0 else 'failed'}")
    return 1 if done.returncode else 0


def main(arguments):
    """Say which Pythons there are, and run the tests on each."""
    found = dict(others())
    for version, python in found.items():
        say(f"{version}: {python or 'none that starts, on PATH or below pyenv: nothing is run'}")
    if arguments[:1] == ["--list"]:
        return 0
    return max([0, *(run(version, path, arguments) for version, path in found.items() if path)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
