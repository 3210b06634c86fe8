"""What OpenAI's routes work with, made once per application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from litestar.connection import ASGIConnection

from springtide.gateway.openai.calls import Calls
from springtide.gateway.openai.choosing import Choice
from springtide.gateway.services import GatewayServices

STATE = "openai"  # its name in the application's state


@dataclass(frozen=True)
class OpenAi:
    """Made by `create_app`, kept in the application's state."""

    choice: Choice
    calls: Calls
    since_s: float  # when this gateway was made


def make(services: GatewayServices) -> OpenAi:
    choice = Choice(services.models, services.settings.openai_aliases)
    return OpenAi(choice=choice, calls=Calls(choice), since_s=services.clock.now_s())


def openai_of(request: ASGIConnection[Any, Any, Any, Any]) -> OpenAi:
    return cast("OpenAi", request.app.state[STATE])
