"""Files that the tests of the guard damage, and what makes a fake of PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from lastgood.guard import torch_child

ARRAYS: dict[str, Any] = {
    "layer.weight": np.random.default_rng(5).standard_normal((16, 24), dtype=np.float32),
    "layer.bias": np.arange(24, dtype=np.float64),
    "steps": np.array([3, 6, 9], dtype=np.int64),
}

FAKE_TORCH = '''
"""A module named torch: its files say what its load does."""
import ctypes, os, signal, time

class Tensor:
    dtype, shape = "torch.uint8", (4,)
    def __init__(self, data): self.kept = ctypes.create_string_buffer(data[:4], 4)
    def detach(self): return self
    resolve_conj = resolve_neg = cpu = contiguous = detach
    def numel(self): return 4
    def element_size(self): return 1
    def data_ptr(self): return ctypes.addressof(self.kept)
    def is_floating_point(self): return False
    is_complex = is_floating_point

def load(file, map_location, weights_only):
    assert weights_only is True
    said = file.read()
    if said == b"hang": time.sleep(3600)
    if said == b"memory": return {"a": bytes(3 << 30)}
    if said == b"chatter": print("{}" * 100_000)
    if said == b"die": os.kill(os.getpid(), signal.SIGKILL)
    if said == b"raise": raise RuntimeError("damaged")
    if said.startswith(b"write "):
        with open(said[6:], "wb") as other: other.write(b"x")
    if said == b"deep":
        nested = {}
        for _ in range(500): nested = {"in": nested}
        return nested
    return {"outer": {"w": Tensor(said)}, "epoch": 3}
'''


def npz(path: Path, arrays: dict[str, Any] = ARRAYS) -> Path:
    np.savez(path, **arrays)
    return path


def safetensors(path: Path, arrays: dict[str, Any] = ARRAYS) -> Path:
    save_file(arrays, path)
    return path


def fake_torch(folder: Path) -> Callable[[], Sequence[str]]:
    """The command of the real child program with a module `torch` that is a fake."""
    (folder / "torch.py").write_text(FAKE_TORCH)
    program = str(torch_child._PROGRAM)
    begin = f"import sys, runpy; sys.path.insert(0, {str(folder)!r}); "
    run = f"runpy.run_path({program!r}, run_name='__main__')"
    return lambda: (sys.executable, "-I", "-c", begin + run)


def saying(*lines: str) -> Callable[[], Sequence[str]]:
    """The command of a child that says it is ready, and answers each file with these lines."""
    program = (
        'import sys\nprint(\'{"ready": ""}\', flush=True)\n'
        f"for _ in sys.stdin: print({chr(10).join(lines)!r}, flush=True)\n"
    )
    return lambda: (sys.executable, "-I", "-c", program)
