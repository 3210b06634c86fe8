"""The operators' commands: `status`, `top`, `scale`, `pause`, `resume`, `drain`."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.text import Text

from springtide.cli import exits
from springtide.cli.connecting import Where, connected
from springtide.cli.overview import look
from springtide.cli.overview_tables import shown
from springtide.cli.results import as_json, line
from springtide.cli.retry import seconds
from springtide.client import Patience, Springtide, Unreachable
from springtide.client.operating import Operated
from springtide.domain.clock import in_words
from springtide.domain.errors import InvalidInput

LEAST_EVERY_S = 0.5
_out = Console()


def status(where: Where, *, json: bool) -> int:
    """One look: is it ready, what does each model do, which workers are there."""
    with connected(where) as client:
        ready = client.readiness()
        found = look(client)
    if json:
        print(as_json({"ready": ready, "overview": found}))
    else:
        _out.print(_readiness(ready))
        _out.print(shown(found, _out.width, workers=True))
        if (keep_s := ready.get("keep_s")) is not None:
            kept = "until somebody deletes them" if keep_s == "forever" else in_words(keep_s)
            _out.print(Text(f"ended jobs and their files are kept {kept} ([ledger] keep_s)", style="dim"))
    return exits.DONE if ready.get("status") == "ok" else exits.JOB_FAILED


def _readiness(ready: dict[str, Any]) -> Text:
    """Whether jobs are taken in and done; where not, what is amiss. A model that does not load keeps only its own."""
    if ready.get("status") != "ok":
        parts = [f"{name} {ready[name]}" for name in ("ledger", "broker") if ready.get(name, "ok") != "ok"]
        return Text(f"not ready: {', '.join(parts) or ready.get('status', 'no answer')}", style="bold red")
    lame = ready.get("not_loading") or {}
    if lame:
        return Text(f"ready, but for models that do not load: {', '.join(lame)}", style="bold yellow")
    return Text("ready", style="bold green")


def top(where: Where, *, every_s: float, once: bool, json: bool) -> int:
    """The same again and again, until it is interrupted."""
    if every_s < LEAST_EVERY_S:
        raise InvalidInput(f"--every takes {LEAST_EVERY_S:g} seconds or more")
    # Ctrl-C is how one leaves it.
    with contextlib.suppress(KeyboardInterrupt), connected(where, patience=Patience(retries=0)) as client:
        if json or once:
            while True:
                found = look(client)
                print(line(found), flush=True) if json else _out.print(shown(found, _out.width, workers=True))
                if once:
                    return exits.DONE
                time.sleep(every_s)
        _watch(client, every_s)
    return exits.DONE


def _watch(client: Springtide, every_s: float) -> None:
    with Live(Text("…"), console=_out, screen=_out.is_terminal, auto_refresh=False) as live:
        while True:
            try:
                live.update(shown(look(client), _out.width, workers=True), refresh=True)
            except Unreachable as error:
                live.update(Text(f"{client.url}: {error.message}; trying again", style="red"), refresh=True)
            time.sleep(every_s)


def scale(
    where: Where, model: str, replicas: str, *, span: str | None, until: str | None, note: str | None, json: bool
) -> int:
    """Replicas by hand, or back to the policy."""
    count: int | Literal["auto"]
    if replicas == "auto":
        count = "auto"
    elif replicas.isdecimal():
        count = int(replicas)
    else:
        raise InvalidInput(f"REPLICAS is a number or the word auto, not {replicas!r}")
    for_s = None if span is None else seconds(span)
    with connected(where) as client:
        _told(client.models.scale(model, count, for_s=for_s, until=until, note=note), json=json)
    return exits.DONE


def pause(where: Where, model: str, *, note: str | None, json: bool) -> int:
    """Keep a model's jobs and begin none."""
    with connected(where) as client:
        _told(client.models.pause(model, note=note), json=json)
    return exits.DONE


def resume(where: Where, model: str, *, json: bool) -> int:
    """The end of a pause."""
    with connected(where) as client:
        _told(client.models.resume(model), json=json)
    return exits.DONE


def drain(where: Where, worker: str, *, note: str | None, json: bool) -> int:
    """Send a worker away when it has finished."""
    with connected(where) as client:
        found = client.workers.drain(worker, note=note)
    if json:
        print(as_json(found))
    else:
        held = f"finishes {len(found.jobs)} job(s) and leaves" if found.jobs else "leaves"
        print(f"{found.id} {held}")
    return exits.DONE


def _told(found: Operated, *, json: bool) -> None:
    if json:
        print(as_json(found))
        return
    words: list[Any] = []
    if found.paused is not None:
        words.append(f"paused since {found.paused.at}")
    if found.pinned is not None:
        until = f" until {found.pinned.until}" if found.pinned.until else ""
        words.append(f"{found.pinned.replicas} replica(s) by hand{until}")
    print(f"{found.model}: {', '.join(words) or 'as its policy says'}")
