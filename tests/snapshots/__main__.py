"""`python -m tests.snapshots`: write every kept text anew, and name those that changed."""

from __future__ import annotations

from tests.snapshots.texts import FOLDER, TEXTS

if __name__ == "__main__":
    for name, make in TEXTS.items():
        path, text = FOLDER / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{path.name} was written")
