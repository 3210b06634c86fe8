"""Which model a request means: by its own name, by an alias of the operator's, or by a name of OpenAI's.

Names of OpenAI's stand for the first model served (in the order of the configuration) that does the same:

- `whisper-…` and `…-transcribe…`: the first that transcribes.
- `sora-…`, and no name on `/v1/videos`: the first that makes videos; with an audio_reference the first that speaks.
- `gpt-image-…`, `dall-e-…`, `chatgpt-image-…`, and no name on `/v1/images`: with background=transparent the first that
  can; without, the first that takes a prompt. Never a guess: what follows no words must not run as if it did.

Promises: a name that none of this explains is 404 (unknown_model, in OpenAI's words model_not_found), which names what
is served on that route.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from springtide.domain.errors import InvalidInput, NotFound
from springtide.domain.ids import ModelName
from springtide.gateway.openai.uses import Route, Use, can_be_transparent, properties, speaks, uses
from springtide.gateway.served import ServedModel

_THEIRS = {
    Route.TRANSCRIPTIONS: re.compile(r"whisper-.*|.*-transcribe(-.*)?"),
    Route.VIDEOS: re.compile(r"sora-.*"),
    Route.EDITS: re.compile(r"(gpt|chatgpt)-image-.*|dall-e-.*"),
    Route.GENERATIONS: re.compile(r"(gpt|chatgpt)-image-.*|dall-e-.*"),
}
_PATHS = {
    Route.TRANSCRIPTIONS: "/v1/audio/transcriptions",
    Route.EDITS: "/v1/images/edits",
    Route.GENERATIONS: "/v1/images/generations",
    Route.VIDEOS: "/v1/videos",
}


class Choice:
    """The models of a server by route."""

    def __init__(
        self,
        models: Mapping[ModelName, ServedModel],
        aliases: Mapping[str, str],
        versions: Mapping[ModelName, ServedModel] | None = None,
    ) -> None:
        """versions: by `name@version`, for those who ask for one."""
        self._models = models
        self._versions = versions or {}
        self._aliases = aliases
        self.uses: Mapping[ModelName, tuple[Use, ...]] = {name: uses(each.model) for name, each in models.items()}

    def on(self, route: Route) -> list[ServedModel]:
        """The models that serve a route, in the order of the configuration."""
        return [self._models[name] for name, each in self.uses.items() if any(use.route is route for use in each)]

    def named(self, name: str | None, route: Route, *, transparent: bool = False, voice: bool = False) -> ServedModel:
        """The model that `name` means on a route. Raises NotFound, or InvalidInput where a name is needed."""
        served = self.on(route)
        asked = self._aliases.get(name, name) if name else None
        by_name = {each.model.name: each for each in served}
        if asked is not None and ModelName(asked) in by_name:
            return by_name[ModelName(asked)]
        version = self._versions.get(ModelName(asked or ""))
        if version is not None and any(use.route is route for use in uses(version.model)):
            return version
        if asked is None and route is Route.TRANSCRIPTIONS:
            raise InvalidInput("model is missing.", errors=[{"loc": "model", "message": "missing"}])
        if asked is None or _THEIRS[route].fullmatch(asked):
            meant = _meant(served, route, transparent=transparent, voice=voice)
            if meant is not None:
                return meant
        raise NotFound(self._unknown(asked, route, served), code="unknown_model", errors=[{"loc": "model"}])

    def _unknown(self, asked: str | None, route: Route, served: list[ServedModel]) -> str:
        listed = "; ".join(
            f"{each.model.name} ({use.note})"
            for each in served
            for use in self.uses[each.model.name]
            if use.route is route
        )
        path = _PATHS[route]
        if not served:
            return f"No model served here can do what {path} does; GET /v1/models lists what each can."
        if asked is None:
            return f"Say which model is meant. Served on {path}: {listed}."
        if ModelName(asked) in self._models:
            return f"The model {asked[:64]!r} is not for {path}. Served there: {listed}."
        return f"There is no model {asked[:64]!r} on {path}. Served there: {listed}."


def _meant(served: list[ServedModel], route: Route, *, transparent: bool, voice: bool) -> ServedModel | None:
    if route is Route.VIDEOS:
        return next((each for each in served if speaks(each.model) is voice), None)
    if route is Route.TRANSCRIPTIONS:
        return served[0] if served else None
    if transparent:
        return next((each for each in served if can_be_transparent(each.model)), None)
    return next((each for each in served if "prompt" in properties(each.model)), None)
