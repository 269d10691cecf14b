"""Options, readiness, progress, reports and exit statuses that the rig's commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from powercut.errors import TraceError
from powercut_rig.campaigns.campaign import CampaignProgress
from powercut_rig.cli.doctor import kernel_name
from powercut_rig.errors import RigError, RigUnavailable
from powercut_rig.filesystems import FILE_SYSTEMS
from powercut_rig.guest.prepare import prepared
from powercut_rig.judge.result import Comparison
from powercut_rig.macos import APFS
from powercut_rig.reports import html
from powercut_rig.reports.text import junit
from powercut_rig.rigs import what_is_missing

_Command = TypeVar("_Command", bound=Callable[..., Any])


class FileSystems(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # newer click
    """One file system or several, with commas between."""

    name = "NAMES"

    def __init__(self, also: tuple[str, ...] = ()) -> None:
        self._known = (*FILE_SYSTEMS, *also)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The names, each once, in the order given."""
        if not isinstance(value, str):
            return tuple(value)
        names = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
        for name in names:
            if name not in self._known:
                known = ", ".join(self._known)
                self.fail(f"{name!r} is no file system of the rig; it knows {known}.", param, ctx)
        return names


def count_option(
    *names: str, said: str, default: int | None = None, least: int = 1
) -> Callable[[_Command], _Command]:
    """An option for a whole number from `least` on; `said` is its help."""
    kind = click.IntRange(least)
    return click.option(*names, type=kind, default=default, show_default=True, help=said)


def path_option(
    *names: str, said: str | None = None, default: str | None = None, folder: bool = False
) -> Callable[[_Command], _Command]:
    """An option for a file, or a `folder`, that the command writes; `said` is its help."""
    kind = click.Path(dir_okay=folder, file_okay=not folder, path_type=Path)
    start = None if default is None else Path(default)
    return click.option(*names, type=kind, default=start, show_default=True, help=said)


FS_OPTION = click.option(
    "--fs",
    "file_systems",
    type=FileSystems(also=(APFS,)),
    default="ext4",
    show_default=True,
    help=f"Record on these, with commas between: {', '.join(FILE_SYSTEMS)}; or {APFS}, on a Mac.",
)
SEVERAL_FS_OPTION = click.option(
    "--fs",
    "file_systems",
    type=FileSystems(),
    default="ext4,xfs,btrfs",
    show_default=True,
    help="Record on these, with commas between.",
)
JOBS_OPTION = count_option(
    "--jobs", said="Workers at a time; by default two a core, one a core with disks of a guest."
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
PROGRESS_OPTION = click.option(
    "--progress", "lines", is_flag=True, help="Say on standard error how far it is."
)


def report_files(command: _Command) -> _Command:
    """The options for reports that are files, in the order in which help shows them."""
    return path_option("--junit", "junit_path")(path_option("--html", "html_path")(command))


def report_options(command: _Command) -> _Command:
    """The options for reports, in the order in which help shows them: JSON, JUnit, HTML."""
    return JSON_OPTION(report_files(command))


def write_reports(
    results: Sequence[Comparison],
    junit_path: Path | None,
    html_path: Path | None,
    page: Callable[[], str],
) -> None:
    """The two reports that go into files, where they are asked for. OSError."""
    if junit_path is not None:
        junit_path.write_bytes(junit(results))
    if html_path is not None:
        html_path.write_text(page(), encoding="utf-8")


def page_of(results: Sequence[Comparison]) -> str:
    """The HTML report on comparisons that were made on this machine."""
    return html.page(results, f"Model against disk, {kernel_name()}")


def status_of(results: Sequence[Comparison]) -> int:
    """The exit status: 1 where something is wrong, 4 where something could not be decided."""
    if not all(result.agrees for result in results):
        return 1
    return 4 if any(result.undecided for result in results) else 0


def refuse_unless_ready(file_systems: Sequence[str]) -> None:
    """Leave with exit status 3, saying what is missing, where one of them cannot be recorded."""
    missing = dict.fromkeys(line for name in file_systems for line in what_is_missing(name))
    if not missing and any(FILE_SYSTEMS[name].in_guest for name in file_systems):
        try:
            prepared()
        except RigUnavailable as error:
            missing = dict.fromkeys(error.reasons)
    refuse_if_missing(missing, "not run here")


def refuse_if_missing(missing: Collection[str], how: str) -> None:
    """Leave with exit status 3 where this machine lacks something, and list it."""
    if missing:
        click.echo(f"powercut: {how}. This machine lacks:", err=True)
        for sentence in missing:
            click.echo(f"  - {sentence}", err=True)
        sys.exit(3)


def at_intervals(every: int, say: Callable[[int], object]) -> Callable[[int], None]:
    """A function that hears counts, and has said those that are `every` or more after the last."""
    last = 0

    def hear(count: int) -> None:
        nonlocal last
        if count - last >= every:
            last = count
            say(count)

    return hear


@contextmanager
def running(what: str) -> Iterator[None]:
    """Turn the errors of a run into one line and an exit status."""
    try:
        yield
    except RigUnavailable as error:
        click.echo(f"powercut {what}: {error}", err=True)
        sys.exit(3)
    except (RigError, TraceError, ValueError) as error:
        click.echo(f"powercut {what}: {error}", err=True)
        sys.exit(2)


@contextmanager
def progress(
    *, lines: bool, quiet: bool = False, every: int = 50
) -> Iterator[Callable[[CampaignProgress], None]]:
    """A line that is kept up to date on a terminal; or a new line every so many images."""
    console = Console(stderr=True)
    if lines:
        last = -every

        def say(at: CampaignProgress) -> None:
            nonlocal last
            if at.images - last >= every or at.jobs_done == at.jobs:
                last = at.images
                click.echo(str(at), err=True)

        yield say
    elif quiet or not console.is_terminal:
        yield lambda _: None
    else:
        with console.status("starting") as status:
            yield lambda at: status.update(str(at))
