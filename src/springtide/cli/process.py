"""What every long-running process has: an event loop, signals, a lifeline to its parent, and plain logs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence

from springtide.domain.errors import ConfigError, SpringtideError
from springtide.telemetry import tracing
from springtide.telemetry.logs import handlers
from springtide.telemetry.settings import TelemetrySettings

CONFIG_EXIT = 2  # exit code of a process that cannot use its configuration
SAME_SIGNAL_S = 1.0  # one Ctrl-C may arrive twice: from the terminal and from a parent that passes it on
FIRST_LINES = TelemetrySettings(log_format="human")  # before the configuration is read, which may be what is wrong


def run_role(
    role: str,
    main: Callable[[asyncio.Event], Awaitable[None]],
    *,
    supervised: bool,
    parted: asyncio.Event | None = None,
) -> int:
    """Run `main(stop)` until it returns; `stop` is set by SIGTERM, SIGINT, SIGHUP or, if `supervised`, by the end of
    the lifeline: the parent is dead, or lets go. `parted` is set by that only.

    Asked twice, a process stops at once; not so a supervised one, which may well hear of the same stop from its parent
    and from whoever signals the whole group. Its parent takes it along.

    Returns the exit code: 0, or 2 for a wrong setting, or 1 for another expected error (said in one line).
    """
    try:
        set_up_logging(role)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_with_signals(main, supervised=supervised, parted=parted))
    except ConfigError as error:
        logging.getLogger(role).error("%s", error)
        return CONFIG_EXIT
    except SpringtideError as error:
        logging.getLogger(role).error("%s", error)
        return 1
    finally:
        tracing.end()
    return 0


def set_up_logging(role: str, settings: TelemetrySettings = FIRST_LINES) -> None:
    """One line an event on standard error, with the process's role, and to a file where one is wanted."""
    levels = logging.getLevelNamesMapping()
    name = os.environ.get("SPRINGTIDE_LOG", "INFO").upper()
    if name not in levels:
        raise ConfigError(f"SPRINGTIDE_LOG is {name!r}; it takes DEBUG, INFO, WARNING or ERROR")
    logging.basicConfig(level=levels[name], handlers=handlers(role, settings), force=True)
    tracing.begin(role, settings)
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "alembic", "uvicorn", "asyncio", "faster_whisper"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, levels[name]))


async def _with_signals(
    main: Callable[[asyncio.Event], Awaitable[None]], *, supervised: bool, parted: asyncio.Event | None
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    first_at_s = 0.0

    def on_signal() -> None:
        nonlocal first_at_s
        if not stop.is_set():
            first_at_s = loop.time()
            stop.set()
        elif not supervised and loop.time() - first_at_s > SAME_SIGNAL_S:  # asked twice: the user means it
            logging.getLogger(__name__).warning("stopping at once")
            _kill_descendants()
            os._exit(130)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup: a closed terminal is meant to change nothing
            loop.add_signal_handler(number, on_signal)
    if supervised:
        events = [stop] if parted is None else [stop, parted]
        loop.add_reader(sys.stdin.fileno(), _on_lifeline, loop, events)
    await main(stop)


def _kill_descendants() -> None:
    """Left alone they would drain: finish what they run, for as long as that takes. Their jobs are in the ledger."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _on_lifeline(loop: asyncio.AbstractEventLoop, events: Sequence[asyncio.Event]) -> None:
    """The parent never writes to the lifeline: readable means that it is gone, or lets go."""
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        for event in events:
            event.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # an interpreter without it: slower, not different
        return asyncio.new_event_loop
    return uvloop.new_event_loop
