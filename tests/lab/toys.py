"""A small experiment for tests: two units, one table, one figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attrs import define, field

from powercut_lab.study import (
    Data,
    Figure,
    Missing,
    Picture,
    RawTable,
    ReportTable,
    Row,
    Section,
    Size,
    StudyPlan,
    WorkUnit,
)

TOSSES = RawTable("tosses", ("coin", "heads"), frozenset({"heads"}), "One toss of a coin.")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><rect width="9" height="9"/></svg>'


def gives(*rows: Row) -> Callable[[Path], Iterable[Row]]:
    return lambda _folder: rows


@define
class Toy:
    """Tosses of a coin; `works` are what its units do."""

    works: dict[str, Callable[[Path], Iterable[Row]]] = field(
        factory=lambda: {"a/1": gives(("a", 1), ("a", 0)), "b/1": gives(("b", 1))}
    )
    missing: tuple[Missing, ...] = ()
    name: str = "toy"
    title: str = "Coins"
    tables: tuple[RawTable, ...] = (TOSSES,)

    def plan(self, size: Size, seed: int) -> StudyPlan:
        return StudyPlan(
            tuple(WorkUnit(key, TOSSES, work, 1.0) for key, work in self.works.items()),
            self.missing,
        )

    def section(self, data: Data) -> Section:
        rows = data["tosses"]

        def draw(figure: Any) -> None:
            figure.subplots().plot([row["heads"] for row in rows])

        table = ReportTable(
            "tosses-table", "Tosses", "Each toss.", ("coin", "heads"),
            tuple((str(row["coin"]), str(row["heads"])) for row in rows), ("A note | with a bar.",),
        )  # fmt: skip
        figure = Figure("heads", "Heads", "By toss.", "A line.", draw, ("tosses",))
        return Section(
            "Coins", (f"{len(rows)} tosses <b>.",),
            (table, figure, Picture("box", "A box", "Black.", "A square.", SVG)),
        )  # fmt: skip
