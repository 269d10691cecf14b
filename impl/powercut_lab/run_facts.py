"""The facts beside the rows of a run: the machine, and what it could not run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from powercut_lab.errors import LabError
from powercut_lab.strict_json import (
    as_object,
    list_in,
    named_texts_in,
    read_object,
    text_in,
)
from powercut_lab.study import Missing

FILE: Final = "run.json"


@frozen
class RunFacts:
    """The machine in words, and the parts that it could not run, each with its experiment."""

    machine: Mapping[str, str]
    missing: tuple[tuple[str, Missing], ...]

    def write(self, folder: Path) -> None:
        """Keep them in the folder. LabError."""
        value = {
            "machine": dict(self.machine),
            "missing": [{"experiment": name, **asdict(each)} for name, each in self.missing],
        }
        replace_file(folder / FILE, json.dumps(value, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> RunFacts:
        """The facts that a folder holds. LabError."""
        path = folder / FILE
        root = read_object(path)
        try:
            missing = tuple(_missing(each) for each in list_in(root, "missing"))
            return cls(named_texts_in(root, "machine"), missing)
        except ValueError as error:
            raise LabError(f"{path} is not what was expected: {error}.") from error


def _missing(value: Any) -> tuple[str, Missing]:
    part = as_object(value, "a part that was not run")
    texts = {name: text_in(part, name) for name in ("part", "reason", "remedy", "prefix")}
    return text_in(part, "experiment"), Missing(**texts)


def replace_file(file: Path, text: str) -> None:
    """Write a file whole, or not at all. LabError."""
    beside = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        raise LabError(f"{file} cannot be written: {error}. The rows are intact.") from error
