"""Writes into the litmus tests how many states the model has, and what new profiles answer.

Usage: python scripts/record_litmus.py [--check] [--root FOLDER]

For each test under FOLDER/traces/litmus and each built-in profile, the number of states is put
right, and so it is for the models of others in FOLDER/tests/litmus.  FOLDER is this repository by
default.  Where a test has no answer for a profile yet, ours is added and printed.  An answer comes
from a source, never from what the model prints: read each one that was added, and hold it against
the sources that the profile names.  An answer that is recorded is never changed: where the model's
is another, one of the two is wrong.  With --check nothing is written.

Exit status: 0 all is recorded; 1 an answer differs, or, with --check, something is not recorded;
2 a test cannot be read, no test was written.
"""

import argparse
import re
import sys
import textwrap
import tomllib
from pathlib import Path

from powercut.errors import PowercutError
from powercut.profile import load_profile, profile_names, profiles_in
from powercut.trace.litmus import ANSWERS, Litmus, read_litmus, run_litmus

WIDTH = 98


def section(lists: dict[str, list[str]]) -> str:
    """The lines of a table whose values are lists of names, none of them empty."""
    lines = []
    for key, names in lists.items():
        quoted = ", ".join(f'"{name}"' for name in sorted(names))
        if len(f"{key} = [{quoted}]") <= WIDTH + 2:
            lines.append(f"{key} = [{quoted}]")
            continue
        body = textwrap.fill(
            quoted + ",",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
        lines.append(f"{key} = [\n{body}\n]")
    return "\n".join(lines)


def with_section(text: str, name: str, lines: str) -> str:
    """The text of a test with one table written anew; at its end, where there was none."""
    if f"[{name}]\n" not in text:
        text = f"{text.rstrip()}\n\n[{name}]\n"
    head, _, rest = text.partition(f"[{name}]\n")
    following = re.search(r"^\[\w+\]$", rest, re.MULTILINE)
    tail = "" if following is None else "\n" + rest[following.start() :]
    return f"{head}[{name}]\n{lines}\n{tail}"


def recorded(path: Path, test: Litmus) -> tuple[str, list[str], list[str]]:
    """The text of a test as it should be, what was added to it, and what differs from it."""
    answers: dict[str, list[str]] = {answer: [] for answer in ANSWERS}
    states: dict[int, list[str]] = {}
    added, differing = [], []
    for name in profile_names():
        outcome = run_litmus(test, load_profile(name))
        answer = test.answers.get(name, outcome.answer)
        if name not in test.answers:
            added.append(
                f"{test.name}, {test.crash_class}: {name} answers {answer}. {test.question}"
            )
        elif answer != outcome.answer:
            differing.append(f"{test.name}: {name} is recorded as {answer}: now {outcome.answer}")
        answers[answer].append(name)
        states.setdefault(len(outcome.looks), []).append(name)
    text = path.read_text(encoding="utf-8")
    text = with_section(text, "answers", section({k: v for k, v in answers.items() if v}))
    numbers = section({str(count): states[count] for count in sorted(states)})
    return with_section(text, "states", numbers), added, differing


def recorded_models(path: Path, tests: list[Litmus]) -> tuple[str, list[str], list[str]]:
    """The same of the models that others published: one file for all tests."""
    text = path.read_text(encoding="utf-8")
    known: dict[str, dict[str, dict[str, list[str]]]] = tomllib.loads(text)
    lines, added, differing = [text[: text.index("[")].rstrip()], [], []
    for model in profiles_in(path.parent / "profiles"):
        old = {t: a for a, ts in known.get(model.name, {}).get("answers", {}).items() for t in ts}
        answers: dict[str, list[str]] = {answer: [] for answer in ANSWERS}
        states: dict[int, list[str]] = {}
        for test in tests:
            outcome = run_litmus(test, model)
            answer = old.get(test.name, outcome.answer)
            if test.name not in old:
                added.append(f"{test.name}: the model {model.name} answers {answer}")
            elif answer != outcome.answer:
                differing.append(f"{test.name}: {model.name} is recorded as {answer}")
            answers[answer].append(test.name)
            states.setdefault(len(outcome.looks), []).append(test.name)
        numbers = {str(count): states[count] for count in sorted(states)}
        for key, lists in (("answers", answers), ("states", numbers)):
            lines.append(f"[{model.name}.{key}]\n{section({k: v for k, v in lists.items() if v})}")
    return "\n\n".join(lines) + "\n", added, differing


def main(arguments: list[str]) -> int:
    """Write the tests, or say what is not recorded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where stale")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    options = parser.parse_args(arguments)
    paths = sorted((options.root / "traces/litmus").glob("*.toml"))
    try:
        tests = {path: read_litmus(path) for path in paths}
        found = {path: recorded(path, test) for path, test in tests.items()}
        models = options.root / "tests/litmus/models.toml"
        if models.exists():
            found[models] = recorded_models(models, list(tests.values()))
    except (PowercutError, OSError) as error:
        sys.stderr.write(f"record_litmus: {str(error).rstrip('.')}. No test was written.\n")
        return 2
    stale = differs = False
    for path, (text, added, differing) in found.items():
        for line in (*added, *(f"DIFFERS {line}" for line in differing)):
            sys.stdout.write(f"{line}\n")
        differs |= bool(differing)
        if text != path.read_text(encoding="utf-8"):
            stale = True
            verb = "is stale" if options.check else "was written"
            sys.stdout.write(f"{path.relative_to(options.root)} {verb}\n")
            if not options.check:
                path.write_text(text, encoding="utf-8")
    return 1 if differs or (stale and options.check) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
