"""Changes code in one place at a time, and asks whether a test notices. By hand: hours.

Usage: python scripts/mutants.py [--room library|model] [--count N] [--seed S] [--only N,N]
                                 [--first] [--list] [--tests PATH ...] [--into FILE]

Draws mutants of a room's code by seed, out of all that mutation.py finds; --list only prints them.
The room's tests run once under coverage, in a copy of the tree, and what each executes is kept in
build/mutants/ROOM/coverage.json for as long as neither code nor tests change.  Then each mutant is
made in that copy, one at a time, and the tests that execute its line run, the quickest first, until
one fails.  With --tests those run instead, whatever they execute.  --first ends at the first
survivor.  Every outcome is in FILE as soon as it is known, by default in
build/mutants/ROOM/result.json.

Exit status: 0 none survived, 1 one did, 2 a usage error, 3 the tests fail without any mutant.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import mutation

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "mutants"
COVERAGE_LIMIT_S = 3600
LEAST_LIMIT_S, TIMES_AS_LONG = 30, 10
START_LIMIT_S = 120
DIGESTED = ("impl/", "model/", "tests/", "traces/", "scripts/mutants", "pyproject")
NAMED_LIMIT_S = 480.0
COVERAGE_RC = """
[run]
source = {tree}/{code}
data_file = {work}/coverage
parallel = true
context = ${{PYTEST_CURRENT_TEST-}}
patch = _exit
disable_warnings = no-data-collected, module-not-imported, module-not-measured
"""
# Every Python that a test starts is measured too.
SITE = "import coverage\ncoverage.process_startup()\n"


class Room(NamedTuple):
    """The code that is changed, and the tests to notice; those slower under coverage are not."""

    code: str
    tests: tuple[str, ...]
    slowest_s: float
    not_code: tuple[str, ...] = ()
    not_tests: tuple[str, ...] = ()


ROOMS = {
    "library": Room(
        "impl/lastgood",
        ("tests/impl", "tests/snapshots"),
        2.0,  # some 40 searches and series of deaths take longer
        ("impl/lastgood/crashtest/paper_protocol.py",),  # it is wrong on purpose
        # They compare a signature with a page that is generated from it: no behaviour.
        ("tests/impl/test_library_docs.py",),
    ),
    # Its claims are about all programs, and the tests draw many: most of what they notice is slow.
    "model": Room(
        "model/powercut",
        (
            "tests/model",
            "tests/litmus",
            "tests/stateful/test_damage.py",
            "tests/stateful/test_toys.py",
            "tests/test_traces.py",
            "tests/snapshots",
        ),
        12.0,
    ),
}


class Mutant(NamedTuple):
    """One change of one module; its number is its place among all."""

    number: int
    path: str
    change: mutation.Mutation

    def __str__(self) -> str:
        old, new = (" ".join(text.split())[:60] for text in (self.change.old, self.change.new))
        return f"{self.number} {self.path}:{self.change.line}: {self.change.kind}: {old} -> {new}"


class Known(NamedTuple):
    """What the unchanged tests do: how long each that is asked takes, and who executes a line."""

    seconds: dict[str, float]
    executed: dict[str, dict[str, list[str]]]

    def tests_for(self, mutant: Mutant, root: Path = ROOT) -> list[str]:
        """The tests that may notice, quickest first."""
        change = mutant.change
        near = self._of(mutant.path, range(change.line, change.line + 1))
        near = near or self._of(mutant.path, range(change.lines[0], change.lines[1] + 1))
        if not change.names:
            return self._by_time(near)
        # It runs as the module is imported, in no test: those that use the module or the name.
        word = re.compile(rf"\b({'|'.join(map(re.escape, change.names))})\b")
        users = {test for tests in self.executed.get(mutant.path, {}).values() for test in tests}
        for path in self.executed:
            lines = (root / path).read_text().splitlines()
            users |= self._of(path, [n for n, line in enumerate(lines, 1) if word.search(line)])
        return [*self._by_time(near), *self._by_time(users - near)]

    def _of(self, path: str, wanted: Iterable[int]) -> set[str]:
        lines = self.executed.get(path, {})
        return {test for line in wanted for test in lines.get(str(line), ())}

    def _by_time(self, tests: set[str]) -> list[str]:
        return sorted(tests & set(self.seconds), key=lambda test: (self.seconds[test], test))


def say(sentence: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def population(room: Room, root: Path = ROOT) -> list[Mutant]:
    """Every mutant of a room, in the order of files and of their text."""
    files = sorted(path.relative_to(root).as_posix() for path in (root / room.code).rglob("*.py"))
    found = [
        (path, change)
        for path in files
        if path not in room.not_code
        for change in mutation.mutations((root / path).read_bytes())
    ]
    return [Mutant(number, path, change) for number, (path, change) in enumerate(found)]


def sample(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """Some of them, each as likely as any other."""
    return sorted(random.Random(seed).sample(mutants, min(count, len(mutants))))  # noqa: S311


def copy_tree(tree: Path) -> str:
    """A copy of what git knows or would know; the digest of its code and tests."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
    digest = hashlib.sha256(sys.version.encode())
    for name in sorted(filter(None, names.decode().split("\0"))):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
            if name.startswith(DIGESTED):
                digest.update(name.encode() + b"\0" + (ROOT / name).read_bytes() + b"\0")
    return digest.hexdigest()


def pytest_run(work: Path, limit_s: float, *arguments: str, **extra: str) -> tuple[int | None, str]:
    """The status of pytest in the copy, and what it said; None where the time was over."""
    tree = work / "tree"
    path = [str(tree / "impl"), str(tree / "model"), str(tree), str(ROOT / "scripts")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), **extra}
    environment.pop("PYTEST_CURRENT_TEST", None)  # of a test of this script
    command = ["nice", "-n", "10", sys.executable, "-m", "pytest", "-p", "mutants_plugin"]
    command += ["-p", "no:cacheprovider", "-q", "--tb=no", f"--basetemp={work / 'tmp'}", *arguments]
    with (work / "said").open("w+") as said:
        process = subprocess.Popen(
            command, cwd=tree, env=environment, stdout=said, stderr=said, start_new_session=True
        )
        try:
            status: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            # Its own session: what it started ends with it, also what a mutant left behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        return status, said.read()


def learn(work: Path, digest: str, name: str) -> Known | None:
    """What each test executes, of an earlier run where it is the same; None where tests fail."""
    room, kept = ROOMS[name], KEPT / name / "coverage.json"
    if kept.exists() and (old := json.loads(kept.read_text()))["digest"] == digest:
        return Known(old["seconds"], old["executed"])
    say("mutants: runs the tests once under coverage")
    tree, rc, times = work / "tree", work / "coveragerc", work / "times"
    rc.write_text(COVERAGE_RC.format(tree=tree, code=room.code, work=work))
    site = tree / "impl" / "sitecustomize.py"
    site.write_text(SITE)
    ignored = [f"--ignore={path}" for path in room.not_tests]
    extra = {"COVERAGE_PROCESS_START": str(rc), "MUTANTS_TIMES": str(times)}
    status, said = pytest_run(work, COVERAGE_LIMIT_S, *ignored, *room.tests, **extra)
    site.unlink()
    if status not in (0, 1) or not times.exists():
        say(said)
        return None
    found = json.loads(times.read_text())
    failed = set(found["failed"])
    say(f"mutants: {len(found['seconds'])} tests; failed: {', '.join(sorted(failed)) or 'none'}")
    seconds = {
        test: took
        for test, took in found["seconds"].items()
        if test not in failed and took <= room.slowest_s
    }
    say(f"mutants: {len(seconds)} are asked: they pass, and take {room.slowest_s:g} s at most")
    executed = executed_lines(work)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"digest": digest, "seconds": seconds, "executed": executed}))
    return Known(seconds, executed)


def executed_lines(work: Path) -> dict[str, dict[str, list[str]]]:
    """The tests of each line of each file, from the data of all processes."""
    from coverage import CoverageData

    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in sorted(work.glob("coverage.*")):
        data = CoverageData(str(path))
        data.read()
        for file in data.measured_files():
            name = Path(file).resolve().relative_to((work / "tree").resolve()).as_posix()
            for line, contexts in data.contexts_by_lineno(file).items():
                # A child has the name that pytest gives in its environment: "… (call)".
                names = (context.rpartition(" (")[0] or context for context in contexts)
                found[name][str(line)].update(filter(None, names))
    return {
        name: {line: sorted(tests) for line, tests in lines.items()}
        for name, lines in found.items()
    }


def judge(
    work: Path, mutant: Mutant, known: Known | None, named: list[str], root: Path = ROOT
) -> dict[str, Any]:
    """Make one mutant, run its tests, and put the module back."""
    began = time.monotonic()
    tests = known.tests_for(mutant) if known else []
    outcome, by = "survived", ""
    if tests or named:
        file = work / "tree" / mutant.path
        source = (root / mutant.path).read_bytes()
        write(file, mutant.change.apply(source))
        try:
            outcome, by = run_tests(work, tests, known, named)
        finally:
            write(file, source)
    return {
        "number": mutant.number,
        "mutant": str(mutant),
        "outcome": outcome,
        "by": by,
        "tests": len(tests),
        "seconds": round(time.monotonic() - began, 1),
        "old": mutant.change.old,
        "new": mutant.change.new,
    }


_moment = iter(range(1_000_000_000, 2_000_000_000))


def write(file: Path, source: bytes) -> None:
    """Write a module with a time of its own: no compiled form of another is taken for it."""
    file.write_bytes(source)
    moment = next(_moment)
    os.utime(file, (moment, moment))


def run_tests(
    work: Path, tests: list[str], known: Known | None, named: list[str]
) -> tuple[str, str]:
    """The end of a mutant, and the test that brought it."""
    arguments, extra, limit = list(named), {}, NAMED_LIMIT_S
    if known:
        limits = [LEAST_LIMIT_S + TIMES_AS_LONG * known.seconds[test] for test in tests]
        lines = (f"{limit:.0f} {test}\n" for limit, test in zip(limits, tests, strict=True))
        (work / "tests").write_text("".join(lines))
        extra = {"MUTANTS_TESTS": str(work / "tests")}
        arguments = sorted({test.partition("::")[0] for test in tests})
        limit = START_LIMIT_S + TIMES_AS_LONG * sum(known.seconds[test] for test in tests)
    status, said = pytest_run(work, limit, "-x", *arguments, **extra)
    if status is None or "Timeout (" in said:
        return "timeout", ""
    if status == 0:
        return "survived", ""
    lines = [line for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    by = lines[0].partition(" ")[2].partition(" - ")[0] if lines else f"pytest's status {status}"
    return "killed", by


def main() -> int:
    """Draw, run, and count."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--room", choices=ROOMS, default="library", help="what is changed")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="the numbers of mutants, with commas")
    parser.add_argument("--first", action="store_true", help="end at the first survivor")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    parser.add_argument("--tests", nargs="+", default=[], help="run these tests for each")
    parser.add_argument("--into", type=Path)
    options = parser.parse_args()
    options.into = options.into or KEPT / options.room / "result.json"
    everything = population(ROOMS[options.room])
    chosen = sample(everything, options.count, options.seed)
    if options.only:
        numbers = {int(number) for number in options.only.split(",")}
        chosen = [mutant for mutant in everything if mutant.number in numbers]
        if len(chosen) < len(numbers):
            parser.error(f"found mutants 0 to {len(everything) - 1}, not all of {options.only}")
    say(f"mutants: {len(chosen)} of {len(everything)}")
    # An end that is asked for removes the copy as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.list:
        for mutant in chosen:
            say(str(mutant))
        return 0
    return run_all(chosen, options)


def passes(work: Path, named: list[str]) -> bool:
    """Whether tests that are named pass without a mutant; what fails anyhow kills nothing."""
    status, said = pytest_run(work, NAMED_LIMIT_S, "-x", *named)
    if status != 0:
        say(f"{said}mutants: these tests do not pass without a mutant")
    return status == 0


def run_all(chosen: list[Mutant], options: argparse.Namespace) -> int:
    """Run the chosen ones in one copy of the tree."""
    results = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        work = Path(folder)
        (work / "tree").mkdir()
        digest = copy_tree(work / "tree")
        known = None if options.tests else learn(work, digest, options.room)
        if known is None and not (options.tests and passes(work, options.tests)):
            return 3
        options.into.parent.mkdir(parents=True, exist_ok=True)
        for mutant in chosen:
            result = judge(work, mutant, known, options.tests)
            results.append(result)
            say(f"{result['outcome']:8} {mutant} [{result['tests']} tests, {result['seconds']} s]")
            options.into.write_text(json.dumps(results, indent=1))
            if options.first and result["outcome"] == "survived":
                break
    counts = Counter(result["outcome"] for result in results)
    say(f"mutants: {', '.join(f'{number} {name}' for name, number in sorted(counts.items()))}")
    return 1 if counts["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
