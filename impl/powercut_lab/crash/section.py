"""The section of the report: sentences that are computed from rows, tables and figures."""

from __future__ import annotations

from collections.abc import Iterator

from powercut_lab.crash.crash_points import NO_CRASH, SHORT_COMMITTED
from powercut_lab.crash.figures import ok_rate_figure, reason_figure
from powercut_lab.crash.power_tables import disk_table, model_table, story_tables
from powercut_lab.crash.process_tables import hook_tables, kill_table, reason_table
from powercut_lab.crash.summaries import (
    Rows,
    as_share,
    counts_by,
    distinct,
    number,
    protocols_in,
    summed,
    text,
)
from powercut_lab.crash.tables import DISKS, HOOKS, KILLS, MODEL, STORY
from powercut_lab.study import Data, Figure, Picture, ReportTable, Section


def crash_section(data: Data) -> Section:
    """All that the rows have to say; a part without rows is left out."""
    hooks, kills, model, story, disks = (
        data.get(table.name, ()) for table in (HOOKS, KILLS, MODEL, STORY, DISKS)
    )
    items: list[ReportTable | Figure | Picture] = []
    if hooks:
        items += [*hook_tables(hooks), ok_rate_figure(hooks), reason_table(hooks)]
        items += [reason_figure(hooks)] if any(row["reason"] != "valid" for row in hooks) else []
    if kills:
        items.append(kill_table(kills))
    if model:
        items.append(model_table(model))
    if disks:
        items.append(disk_table(disks))
    items += story_tables(story)
    findings = (
        *_of_hooks(hooks),
        *_of_kills(kills),
        *_of_model(model),
        *_of_stories(story),
        *_of_disks(disks),
    )
    return Section("Crash injection", tuple(findings), tuple(items))


def _of_hooks(rows: Rows) -> Iterator[str]:
    deaths = [row for row in rows if row["point"] not in (NO_CRASH, SHORT_COMMITTED)]
    for protocol, counted in counts_by(deaths, "protocol").items():
        if counted.kept < counted.trials:
            lost = as_share(counted.trials - counted.kept, counted.trials)
            yield f"{protocol[0]} lost an acknowledged group to a killed process: {lost}."
    if deaths:
        every = summed(counts_by(deaths, "protocol").values())
        modes = len(protocols_in(deaths))
        yield (
            f"After {every.trials} processes killed at the paper's crash points in {modes} modes, "
            f"the newest acknowledged group was returned {as_share(every.kept, every.trials)}, and "
            f"{as_share(every.whole, every.returned)} of what was returned was whole."
        )
        yield (
            "Judged as in the paper, by the group in flight, the same deaths are a success in "
            f"{as_share(every.in_flight_ok, every.trials)}: that measures where the process died."
        )
    short = [row for row in rows if row["point"] == SHORT_COMMITTED]
    if short:
        every = summed(counts_by(short, "protocol").values())
        yield (
            "Of groups that were acknowledged after a silent short write, which is what the paper "
            f"calls after_model, {as_share(every.trials - every.kept, every.trials)} were not "
            f"returned; a whole group was returned instead {as_share(every.whole, every.trials)}."
        )


def _of_kills(rows: Rows) -> Iterator[str]:
    for (level,), counted in counts_by(rows, "level").items():
        yield (
            f"SIGKILL at every {level}: {counted.died} deaths; {counted.trials - counted.kept} "
            f"lost an acknowledged group, {counted.returned - counted.whole} had a torn group "
            f"handed out, after {counted.trials - counted.next_kept} the next process did not "
            "go on."
        )


def _of_model(rows: Rows) -> Iterator[str]:
    durable = [row for row in rows if row["property"] == "P3"]
    for protocol in protocols_in(durable):
        own = [row for row in durable if row["protocol"] == protocol]
        said = "; ".join(
            f"{word} under {', '.join(text(r, 'profile') for r in own if r['verdict'] == word)}"
            for word in distinct(own, "verdict")
        )
        yield f"A power cut in the model, {protocol}: “no acknowledged group is lost” {said}."
    kept = {(r["protocol"], r["profile"]) for r in durable if r["verdict"] == "holds"}
    taken_back: dict[str, list[str]] = {}
    for row in rows:
        is_unstable = row["property"] == "P4" and row["verdict"] == "fails"
        if is_unstable and (row["protocol"], row["profile"]) in kept:
            taken_back.setdefault(text(row, "protocol"), []).append(text(row, "profile"))
    for protocol, profiles in taken_back.items():
        yield (
            f"{protocol} keeps what it acknowledged under {', '.join(profiles)}, and yet a group "
            "that a recovery had returned can be gone after the next power cut (P4)."
        )


def _of_stories(rows: Rows) -> Iterator[str]:
    for protocol in protocols_in(rows):
        own = [row for row in rows if row["protocol"] == protocol]
        lost = [_brief(text(r, "text")) for r in own if r["what"] == "lost"]
        remedies = [_brief(text(r, "text")) for r in own if r["what"] == "remedy"]
        if lost:
            kept = f"; {remedies[-1]} before the save returns would have kept it" * bool(remedies)
            yield (
                f"{protocol} loses an acknowledged group under {text(own[0], 'profile')} where "
                f"this is lost: {lost[0]}{kept}."
            )


def _brief(line: str) -> str:
    return line.removesuffix(": lost").replace("/ckpt/run/", "")


def _of_disks(rows: Rows) -> Iterator[str]:
    for protocol in protocols_in(rows):
        own = [row for row in rows if row["protocol"] == protocol]
        images, lost, torn = (
            sum(number(r, name) for r in own) for name in ("images", "lost", "torn")
        )
        where = [text(row, "fs") for row in own if row["lost"]]
        on = f" ({', '.join(where)})" if where else ""
        yield (
            f"Crash images of real disks, {protocol}: {lost} of {images} lost an acknowledged "
            f"group{on}; {torn} handed out something torn."
        )
