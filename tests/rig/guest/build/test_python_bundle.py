"""What Python a guest is given, without a guest: found and run on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from powercut_rig.errors import RigUnavailable
from powercut_rig.guest.build import module_closure
from powercut_rig.guest.build.python_bundle import (
    AGENT_MODULES,
    PythonBundle,
    agents_bundle,
    bundle_of,
    compiled,
)
from tests import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a guest runs on Linux only")


def test_the_agents_modules_run_from_the_compiled_files_alone(tmp_path: Path) -> None:
    bundle = bundle_of(AGENT_MODULES)
    ours = [path for path in bundle.sources if "/powercut" in path or "/attr" in path]
    for path in ours:
        place = tmp_path / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.with_suffix(".pyc").write_bytes(compiled(path))
    agent = ROOT / "impl/powercut_rig/guest/machine/agent.py"
    paths = [str(tmp_path / path[1:]) for path in bundle.paths]
    program = f"""
import importlib, importlib.util, sys
spec = importlib.util.spec_from_file_location("agent", {str(agent)!r})
agent = importlib.util.module_from_spec(spec)
spec.loader.exec_module(agent)
agent.import_from({paths!r})
for name in {AGENT_MODULES!r}:
    assert importlib.import_module(name).__file__.startswith({str(tmp_path)!r}), name
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_it_holds_the_interpreter_its_libraries_and_no_package_as_a_whole() -> None:
    bundle = bundle_of(AGENT_MODULES)
    names = {Path(path).name for path in (*bundle.sources, *bundle.binaries)}

    assert bundle.python in bundle.binaries
    assert any(name.startswith("ld-linux") for name in names)
    assert any(name.startswith("libc.so") for name in names)
    assert {"os.py", "agent.py"} & names == {"os.py"}
    assert not any(path.endswith("powercut_rig/__init__.py") for path in bundle.sources)


def test_the_disks_of_installed_subjects_come_with_it() -> None:
    assert "lastgood.backends.linux" in agents_bundle().modules


def test_its_name_changes_with_what_a_module_says(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    names = set()
    for text in ("a = 1\n", "a = 2\n"):
        source.write_text(text)
        names.add(PythonBundle("/p", ("/q",), ("m",), (str(source),), ()).digest())
    assert len(names) == 2


def test_a_module_that_does_not_import_here_is_a_reason() -> None:
    with pytest.raises(RigUnavailable, match="no_such_module_here"):
        bundle_of(("no_such_module_here",))


def test_the_source_of_a_module_that_replaced_itself_is_found(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("")
    other = "import sys, json\nsys.modules[__name__] = json\n"
    (tmp_path / "package/replaced.py").write_text(other)
    asked = f"""
import importlib.util, sys
sys.path.insert(0, {str(tmp_path)!r})
spec = importlib.util.spec_from_file_location("closure", {module_closure.__file__!r})
closure = importlib.util.module_from_spec(spec)
spec.loader.exec_module(closure)
import package.replaced
print(closure.replaced_source("package.replaced", sys.modules["package.replaced"]))
print(closure.replaced_source("json", sys.modules["json"]))
"""

    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == [str(tmp_path / "package/replaced.py"), "None"]
