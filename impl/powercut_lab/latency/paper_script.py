"""A process that saves groups as the paper's benchmark does; it needs nothing but Python.

    python paper_script.py MODE FOLDER GROUPS

Run by its path, not imported, so that it starts as fast as the paper's tool.  It writes the order
of the paper's code: the parts, MANIFEST.json, COMMIT.json; in the atomic modes each under a
temporary name, flushed, synced and renamed; in `atomic_dirsync` one sync of the directory at the
end.  It prints the nanoseconds that its saves took, timed inside.
"""

import hashlib
import json
import os
import sys
import tempfile
import time

SIZES = {"model.bin": 128 * 1024, "optim.bin": 64 * 1024}


def write(path: str, data: bytes, mode: str) -> None:
    """One file, as the mode has it."""
    if mode == "unsafe":
        with open(path, "wb") as file:  # noqa: PTH123 - as the paper's code
            file.write(data)
        return
    fd, temporary = tempfile.mkstemp(prefix=".tmp_gc_", dir=os.path.dirname(path))  # noqa: PTH120
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)  # noqa: PTH105


def save(root: str, epoch: int, mode: str) -> None:
    """One group."""
    group = os.path.join(root, f"epoch_{epoch:04d}")  # noqa: PTH118
    os.makedirs(group, exist_ok=True)  # noqa: PTH103
    parts = {name: os.urandom(size) for name, size in SIZES.items()}
    parts["rng.json"] = json.dumps({"seed": 0, "epoch": epoch}).encode()
    entries = []
    for name, data in parts.items():
        write(os.path.join(group, name), data, mode)  # noqa: PTH118
        digest = hashlib.sha256(data).hexdigest()
        entries.append({"path": name, "bytes": len(data), "sha256": digest})
    manifest = json.dumps({"epoch": epoch, "seed": 0, "parts": entries}, sort_keys=True).encode()
    write(os.path.join(group, "MANIFEST.json"), manifest, mode)  # noqa: PTH118
    digest = hashlib.sha256(manifest).hexdigest()
    commit = {"epoch": epoch, "seed": 0, "manifest_sha256": digest, "ts": time.time()}
    data = json.dumps(commit, sort_keys=True).encode()
    write(os.path.join(group, "COMMIT.json"), data, mode)  # noqa: PTH118
    if mode == "atomic_dirsync":
        fd = os.open(group, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def main() -> None:
    """Save so many groups; print how long that took."""
    mode, root, groups = sys.argv[1], sys.argv[2], int(sys.argv[3])
    begun = time.perf_counter_ns()
    for epoch in range(groups):
        save(root, epoch, mode)
    sys.stdout.write(f"{time.perf_counter_ns() - begun}\n")


if __name__ == "__main__":
    main()
