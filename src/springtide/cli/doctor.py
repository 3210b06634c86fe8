"""`springtide doctor`: looks for the usual troubles and says the cure of each. It changes nothing but a file that it
writes and deletes again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.markup import escape

from springtide.cli import checks_machine, checks_services, scaled
from springtide.domain.errors import SpringtideError
from springtide.domain.finding import Finding, Health, unknown
from springtide.runtime.gpus import find_gpus

if TYPE_CHECKING:
    from springtide.config import Config

SIGNS = {
    Health.WELL: "[green]well[/]",
    Health.RISK: "[yellow]risk[/]",
    Health.TROUBLE: "[red]trouble[/]",
    Health.UNKNOWN: "[yellow]unknown[/]",
    Health.SKIPPED: "[dim]skipped[/]",
}


def run_doctor(config: Config, *, as_json: bool) -> bool:
    """Look, print, and say whether nothing is in trouble."""
    found = asyncio.run(examine(config))
    if as_json:
        for one in found:
            print(msgspec.json.encode(one).decode())
    else:
        _print(found)
    return not any(one.health is Health.TROUBLE for one in found)


async def examine(config: Config) -> list[Finding]:
    """Every check that matters for this configuration."""
    found = list(checks_machine.checks(config, find_gpus)) if config.fleet.kind == "local" else []
    found += await checks_services.checks(config)
    if config.fleet.kind == "kubernetes":
        found += await _cluster(config)
    return found


async def _cluster(config: Config) -> list[Finding]:
    from springtide.deploy.installation import Installation
    from springtide.deploy.needs import needs
    from springtide.fleet.kubernetes_api import LightkubeApi
    from springtide.fleet.kubernetes_checks import Wanted, checks

    given = config.kubernetes
    wants_gpu = any(one.accelerators > 0 for one in (*config.models.values(), *config.workers.values()))
    try:
        api = LightkubeApi(manager="springtide-doctor", namespace=given.namespace)
        await api.start()
    except SpringtideError as error:
        return [unknown("cluster", error.message, "set KUBECONFIG, or run it in the controller's pod")]
    try:
        wanted = Wanted(
            gpu=given.worker.gpu_resource if wants_gpu else None,
            definitions={one.definition: (one.because, one.cure) for one in needs(Installation(config, {}))},
            scaling=given.scaling,
        )
        return await checks(api, given.name, scaled.scaled(config), wanted)
    finally:
        await api.stop()


def _print(found: list[Finding]) -> None:
    console = Console()
    for one in found:
        console.print(f"{SIGNS[one.health]} {escape(one.check)}: {escape(one.message)}", soft_wrap=True)
        if one.cure is not None:
            console.print(f"      → {escape(one.cure)}", soft_wrap=True)
    troubles = sum(one.health is Health.TROUBLE for one in found)
    console.print(
        f"\n{troubles} trouble(s) in {len(found)} checks." if troubles else f"\n{len(found)} checks, no trouble."
    )
