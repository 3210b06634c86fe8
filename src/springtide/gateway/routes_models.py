"""`/v1/models`: what is served, what it takes and gives, and how busy it is."""

from __future__ import annotations

from litestar import get
from litestar.params import FromPath

from springtide.gateway.context import AnyRequest, base_of, gateway_of, headers_of
from springtide.gateway.openai.service import openai_of
from springtide.gateway.rollout_views import rollout_view, version_views
from springtide.gateway.schemas_models import ModelList, ModelView
from springtide.gateway.served import ServedModel
from springtide.gateway.views import model_view


@get("/v1/models", tags=["models"], summary="List models")
async def list_models(request: AnyRequest) -> ModelList:
    """Every model served here, with JSON Schemas and live figures; OpenAI's clients find their own keys among these."""
    services = gateway_of(request).services
    return ModelList(data=[await _view(request, services.routing.served(name)) for name in services.models])


@get("/v1/models/{name:str}", tags=["models"], summary="One model")
async def get_model(request: AnyRequest, name: FromPath[str]) -> ModelView:
    """A model by name; one of its versions by `name@version`."""
    return await _view(request, gateway_of(request).submission.served(name), only="@" in name)


async def _view(request: AnyRequest, served: ServedModel, *, only: bool = False) -> ModelView:
    """only: the figures are those of this version."""
    gateway, openai = gateway_of(request), openai_of(request)
    routing, outlook, name = gateway.services.routing, gateway.outlook, served.model.name
    base = base_of(request, headers_of(request))
    units = [served] if only else routing.versions(name)
    return model_view(
        served,
        base,
        live=await outlook.figures(*(one.queue for one in units)),
        orders=outlook.orders,
        capabilities=openai.choice.uses[name],
        since_s=openai.since_s,
        versions=await version_views(routing, outlook, name, base),
        rollout=rollout_view(routing.rollout(name)),
    )
