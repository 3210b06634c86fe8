"""`/v1/models`: what is served, what it takes and gives, and how busy it is."""

from __future__ import annotations

from litestar import get
from litestar.params import FromPath

from springtide.gateway.context import AnyRequest, base_of, gateway_of, headers_of
from springtide.gateway.openai.service import openai_of
from springtide.gateway.schemas import ModelList, ModelView
from springtide.gateway.services import ServedModel
from springtide.gateway.views import model_view


@get("/v1/models", tags=["models"], summary="List models")
async def list_models(request: AnyRequest) -> ModelList:
    """Every model served here, with JSON Schemas and live figures; OpenAI's clients find their own keys among these."""
    return ModelList(data=[await _view(request, served) for served in gateway_of(request).services.models.values()])


@get("/v1/models/{name:str}", tags=["models"], summary="One model")
async def get_model(request: AnyRequest, name: FromPath[str]) -> ModelView:
    """A model by name."""
    return await _view(request, gateway_of(request).submission.served(name))


async def _view(request: AnyRequest, served: ServedModel) -> ModelView:
    openai, outlook = openai_of(request), gateway_of(request).outlook
    return model_view(
        served,
        base_of(request, headers_of(request)),
        live=await outlook.figures(served.model.name),
        orders=outlook.orders,
        capabilities=openai.choice.uses[served.model.name],
        since_s=openai.since_s,
    )
