"""Progress bars, drawn by rich where it is there, only when asked for and only on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator

from springtide.client.batches import Batch
from springtide.client.types import Event


@contextlib.contextmanager
def bytes_bar(
    what: str, total: int, *, shown: bool, also: Callable[[int], object] | None
) -> Generator[Callable[[int], object] | None]:
    """A bar of bytes; gives what to tell of each piece. total: 0 where it is not known."""
    if not (shown and sys.stderr.isatty()):
        yield also
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=total or None)

        def tell(count: int) -> None:
            bars.advance(task, count)
            if also is not None:
                also(count)

        yield tell


@contextlib.contextmanager
def job_bar(
    what: str, *, shown: bool, also: Callable[[Event], object] | None
) -> Generator[Callable[[Event], object] | None]:
    """A bar of a job's progress; gives what to tell of each event."""
    if not (shown and sys.stderr.isatty()):
        yield also
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(f"{what}: queued", total=1.0)

        def tell(event: Event) -> None:
            done = event.progress if event.kind == "progress" else 1.0 if event.kind == "completed" else None
            bars.update(task, description=f"{what}: {told(event)}", completed=done)
            if also is not None:
                also(event)

        yield tell


@contextlib.contextmanager
def batch_bar(*, shown: bool, also: Callable[[Batch], object] | None) -> Generator[Callable[[Batch], object]]:
    """A bar over all jobs of a batch; gives what to tell of each look at it."""
    if not (shown and sys.stderr.isatty()):
        yield also or (lambda _: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=1.0)

        def tell(batch: Batch) -> None:
            bars.update(task, completed=batch.progress, description=counted(batch))
            if also is not None:
                also(batch)

        yield tell


def counted(batch: Batch) -> str:
    """How many items are in which state, in words."""
    counts = ((name, getattr(batch.counts, name)) for name in batch.counts.__struct_fields__)
    return f"{batch.total} jobs: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts if count)


def told(event: Event) -> str:
    """An event in a word or two."""
    if event.kind == "waiting":
        return f"queued ({(event.code or '').replace('_', ' ')})"
    return event.stage or (event.status if event.kind == "snapshot" and event.status else event.kind)
