"""What the repository promises about itself: who imports whom, what is installed, what is said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import attr
import pytest

from tests import ROOT

LIMIT_S = 120
PACKAGES = {
    "lastgood": "impl",
    "powercut": "model",
    "powercut_lab": "impl",
    "powercut_rig": "impl",
}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, cwd=cwd, check=False
    )


def only_attrs(folder: Path) -> Path:
    """A folder from which attrs can be imported, and nothing else."""
    site = Path(attr.__file__).parent.parent
    for name in ("attr", "attrs"):
        (folder / name).symlink_to(site / name)
    return folder


@pytest.mark.parametrize("package", ["lastgood", "powercut"])
def test_importing_it_needs_the_standard_library_and_attrs_alone(
    package: str, tmp_path: Path
) -> None:
    path = [str(ROOT / PACKAGES[package]), str(only_attrs(tmp_path))]
    program = (
        f"import sys; sys.path[:0] = {path!r}\n"
        f"import json, {package}\n"
        "top = {name.partition('.')[0] for name in sys.modules}\n"
        "print(json.dumps(sorted(top - sys.stdlib_module_names - {'__main__'})))\n"
    )

    # -I and -S: no environment, no user folder and no site-packages to help out.
    done = run(sys.executable, "-I", "-S", "-c", program, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    loaded = {name for name in json.loads(done.stdout) if not name.startswith("__")}
    assert package in loaded
    assert loaded <= {package, "attr", "attrs"}


def test_the_probe_above_would_notice_another_library(tmp_path: Path) -> None:
    path = [str(only_attrs(tmp_path))]

    done = run(
        sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {path!r}; import click"
    )

    assert "No module named 'click'" in done.stderr


def test_the_import_contracts_hold() -> None:
    done = run(str(Path(sys.executable).parent / "lint-imports"), "--no-cache")

    assert done.returncode == 0, done.stdout + done.stderr
    kept = re.search(r"Contracts: (\d+) kept, 0 broken", done.stdout)
    assert kept is not None, done.stdout
    assert int(kept[1]) == len(project()["tool"]["importlinter"]["contracts"])


def test_the_wheel_holds_the_four_packages_and_nothing_else(tmp_path: Path) -> None:
    done = run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")

    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert {name for name in names if name.endswith("py.typed")} == {
        f"{package}/py.typed" for package in PACKAGES
    }
    assert any(re.fullmatch(r"powercut/profiles/.*\.toml", name) for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_commands_and_subjects_that_are_announced_can_be_loaded() -> None:
    table = project()["project"]
    announced = [*table["scripts"].values(), *table["entry-points"]["powercut.subjects"].values()]

    names: dict[str, list[str]] = {}
    for target in announced:
        module, _, name = target.partition(":")
        names.setdefault(module, []).append(name)

    for module, wanted in names.items():
        done = run(sys.executable, "-c", f"from {module} import {', '.join(wanted)}")
        assert done.returncode == 0, f"{module}: {done.stderr}"


def test_no_circle_no_long_module_and_no_class_name_defined_twice() -> None:
    done = run(sys.executable, str(ROOT / "scripts/structure.py"))

    assert done.returncode == 0, done.stdout
    assert done.stdout.count("  circles: 0\n") == len(PACKAGES)
    assert "class names defined twice: 0" in done.stdout


def test_every_exemption_from_a_lint_rule_gives_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    start = lines.index("ignore = [")
    ignored = lines[start + 1 : lines.index("]", start)]
    exempt = lines[lines.index("[tool.ruff.lint.per-file-ignores]") + 1 :]
    exempt = exempt[: exempt.index("")]
    assert ignored
    assert exempt

    assert [line for line in [*ignored, *exempt] if "#" not in line] == []


def test_every_document_that_a_document_links_to_exists() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
    broken, seen = [], 0
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" in target:
                continue
            seen += 1
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")

    assert seen > 0
    assert broken == []


def test_the_index_of_documents_names_each_of_them() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages

    assert {page for page in pages if f"]({page})" not in index} == set()


def test_the_reason_for_each_dependency_is_written_down() -> None:
    why = (ROOT / "docs" / "why.md").read_text()
    table = project()
    asked = [*table["build-system"]["requires"], *table["project"]["dependencies"]]
    groups = [*table["project"]["optional-dependencies"].values()]
    groups += [*table["dependency-groups"].values()]
    asked += [requirement for group in groups for requirement in group]
    names = {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in asked} - {"lastgood"}

    assert {name for name in names if f"**{name}**" not in why} == set()


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    readme = (ROOT / "README.md").read_text()
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", readme, re.MULTILINE))

    assert {"demo", "test"} <= named
    assert named <= targets


def test_the_whole_check_and_the_help_name_targets_that_there_are() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z -]*):", makefile, re.MULTILINE))
    targets = {name for line in targets for name in line.split()}
    steps = re.findall(r"^step \S+ make (\S+)", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    helped = re.findall(r'@echo "make (\S+) ', makefile)

    assert steps.index("test") < steps.index("test-all") < steps.index("test-pythons")
    assert {"test-torch", "images"} <= set(steps) <= targets
    assert {"test", "test-all", "test-pythons", "thorough", "soak"} <= set(helped)
    assert {"test-torch", "chaos", "bench-peers", "bench-curve"} <= set(helped) <= targets


def test_the_check_reads_the_report_of_each_run_that_is_counted() -> None:
    steps = (ROOT / ".ci/run").read_text()
    written = re.findall(r"step test(?:-all)? make .*--junitxml=(\S+?)\"", steps)
    (read,) = re.findall(r"ci_summary\.py (.*?) \\?\n? *--failed", steps)

    assert len(written) == 2
    assert read.split() == written


def test_the_long_run_is_of_targets_that_there_are() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (steps,) = re.findall(r"^THOROUGH \?= (.*)$", makefile, re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))

    assert "soak" in steps.split()
    assert set(steps.split()) <= targets
