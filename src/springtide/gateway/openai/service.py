"""What OpenAI's routes work with, made once per application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from litestar import Litestar
from litestar.connection import ASGIConnection

from springtide.gateway.context import Gateway
from springtide.gateway.openai.batches import BatchDriver
from springtide.gateway.openai.calls import Calls
from springtide.gateway.openai.choosing import Choice
from springtide.gateway.tenancy import Tenancy

STATE = "openai"  # its name in the application's state


@dataclass(frozen=True)
class OpenAi:
    """Made by `create_app`, kept in the application's state."""

    choice: Choice
    calls: Calls
    driver: BatchDriver  # whoever runs the application starts and stops it
    since_s: float  # when this gateway was made


def make(gateway: Gateway, tenancy: Tenancy) -> OpenAi:
    services = gateway.services
    choice = Choice(services.models, services.settings.openai_aliases, services.versions)
    calls = Calls(choice)
    return OpenAi(
        choice=choice, calls=calls, driver=BatchDriver(gateway, calls, tenancy), since_s=services.clock.now_s()
    )


def openai_of(request: ASGIConnection[Any, Any, Any, Any]) -> OpenAi:
    return openai_of_app(request.app)


def openai_of_app(app: Litestar) -> OpenAi:
    return cast("OpenAi", app.state[STATE])
