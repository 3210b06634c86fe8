"""Where the scenarios run: against the double, always, so that they are tested themselves; in a cluster, if there is.

    KUBECONFIG=... SPRINGTIDE_CLUSTER=1 pytest tests/cluster

makes namespaces of its own there and deletes them. More variables, all optional:
SPRINGTIDE_CLUSTER_IMAGE    what pods run (default: pause 3.10; simulated nodes run nothing)
SPRINGTIDE_CLUSTER_RESTART  a command that kills and restarts the API server; without it that case is skipped
SPRINGTIDE_CLUSTER_HOST     by which KEDA reaches this machine (default: 127.0.0.1, for a KEDA that runs here, too)
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "component"))  # deploy_checks: the matrix of settings
from cluster_places import Double, Place, Real

HAS_CLUSTER = bool(os.environ.get("SPRINGTIDE_CLUSTER") and os.environ.get("KUBECONFIG"))


@pytest.fixture(params=["double", "cluster"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "cluster" and not HAS_CLUSTER:
        pytest.skip("needs a cluster: set KUBECONFIG and SPRINGTIDE_CLUSTER=1")
    one: Place = Double(tmp_path) if request.param == "double" else Real(tmp_path)
    async with asyncio.timeout(60):
        await one.start()
    try:
        yield one
    finally:
        await one.stop()
