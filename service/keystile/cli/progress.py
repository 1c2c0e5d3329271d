"""Progress of long work, on standard error, for people who watch: never beside `--json`, never into a pipe."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress(
    what: str, total: int | None, *, quiet: bool, console: Console | None = None
) -> Iterator[Callable[[], None]]:
    """Show how far *what* is, of *total* steps (None: nobody knows); yield what to call after each step."""
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, disable=quiet or not console.is_terminal, transient=True, redirect_stdout=False
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
