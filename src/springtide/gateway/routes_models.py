"""`/v1/models`: what is served, what it takes and gives, and how busy it is."""

from __future__ import annotations

from litestar import get
from litestar.params import FromPath

from springtide.gateway.context import AnyRequest, base_of, gateway_of, headers_of
from springtide.gateway.schemas import ModelList, ModelView
from springtide.gateway.views import model_view


@get("/v1/models", tags=["models"], summary="List models")
async def list_models(request: AnyRequest) -> ModelList:
    """Every model served here, with JSON Schemas and live figures."""
    gateway = gateway_of(request)
    base = base_of(request, headers_of(request))
    return ModelList(
        data=[
            model_view(served, base, live=await gateway.outlook.figures(served.model.name))
            for served in gateway.services.models.values()
        ]
    )


@get("/v1/models/{name:str}", tags=["models"], summary="One model")
async def get_model(request: AnyRequest, name: FromPath[str]) -> ModelView:
    """A model by name."""
    gateway = gateway_of(request)
    served = gateway.submission.served(name)
    live = await gateway.outlook.figures(served.model.name)
    return model_view(served, base_of(request, headers_of(request)), live=live)
