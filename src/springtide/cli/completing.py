"""What the shell completes besides options: models and jobs. Silent and quick: a missing server completes nothing."""

from __future__ import annotations

import contextlib

from springtide.cli.connecting import Where, connected
from springtide.client import Patience
from springtide.domain.errors import SpringtideError

PATIENCE = Patience(connect_s=0.5, read_s=1.0, retries=0)  # somebody has pressed Tab


def models(incomplete: str) -> list[str]:
    """Those of the server, else those configured."""
    names: list[str] = []
    with contextlib.suppress(SpringtideError):
        try:
            with connected(Where(), patience=PATIENCE) as client:
                names = [model.name for model in client.models.list()]
        except SpringtideError:
            names = list(Where().settings().models)
    return [name for name in names if name.startswith(incomplete)]


def jobs(incomplete: str) -> list[tuple[str, str]]:
    """The newest, with what they are."""
    with contextlib.suppress(SpringtideError), connected(Where(), patience=PATIENCE) as client:
        found = client.jobs.list(limit=30)
        return [(job.id, f"{job.model} {job.status}") for job in found if job.id.startswith(incomplete)]
    return []
