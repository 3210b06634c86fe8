"""KEDA's external scaler: KEDA asks how many workers a model is wished to have, and makes it so.

The metric is the policy's wish with a target of 1, so what KEDA computes is the wish. A model is active while anything
is wished; that is pushed the moment it changes, so a wake from zero does not wait for KEDA's next look.

No data is not zero: where nothing new is known the last wish is answered (KEDA's own fallback does nothing at zero
replicas), and an error where there never was one. Source: externalscaler.proto.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NoReturn

import grpc
import grpc.aio

from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName
from springtide.fleet import externalscaler_pb2 as wire
from springtide.fleet.labels import unit
from springtide.fleet.wishes import Wishes

log = logging.getLogger(__name__)
METRIC = "springtide-wish"
SERVICE = "externalscaler.ExternalScaler"
_Context = grpc.aio.ServicerContext[Any, Any]


class ExternalScaler:
    """A service: `start`, `stop`. Insecure by itself: it listens where only KEDA can reach it (a NetworkPolicy)."""

    def __init__(self, wishes: Wishes, listen: str) -> None:
        """listen: host:port; port 0 picks a free one."""
        self._wishes = wishes
        self._listen = listen
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Raises ConfigError where nobody can listen there."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        asked, metrics = wire.ScaledObjectRef.FromString, wire.GetMetricsRequest.FromString
        answer = _serialized
        methods: dict[str, Any] = {
            "IsActive": grpc.unary_unary_rpc_method_handler(self.is_active, asked, answer),
            "StreamIsActive": grpc.unary_stream_rpc_method_handler(self.stream_is_active, asked, answer),
            "GetMetricSpec": grpc.unary_unary_rpc_method_handler(self.get_metric_spec, asked, answer),
            "GetMetrics": grpc.unary_unary_rpc_method_handler(self.get_metrics, metrics, answer),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        try:
            self.port = server.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise ConfigError(f"kubernetes.keda.listen: cannot listen on {self._listen}: {error}") from error
        await server.start()
        self._server = server
        log.info("KEDA's external scaler listens on port %d", self.port)

    async def stop(self, grace_s: float = 0.0) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace_s or None)

    # --- what KEDA asks ---

    async def is_active(self, asked: wire.ScaledObjectRef, context: _Context) -> wire.IsActiveResponse:
        return wire.IsActiveResponse(result=await self._wish(asked.scalerMetadata, context) > 0)

    async def stream_is_active(
        self, asked: wire.ScaledObjectRef, context: _Context
    ) -> AsyncGenerator[wire.IsActiveResponse]:
        model = await self._model(asked.scalerMetadata, context)
        was_active: bool | None = None
        async for replicas in self._wishes.follow(model):
            if (replicas > 0) != was_active:
                was_active = replicas > 0
                yield wire.IsActiveResponse(result=was_active)

    async def get_metric_spec(self, asked: wire.ScaledObjectRef, context: _Context) -> wire.GetMetricSpecResponse:
        await self._model(asked.scalerMetadata, context)
        spec = wire.MetricSpec(
            metricName=METRIC, targetSize=1, targetSizeFloat=1.0
        )  # both: old versions read the first
        return wire.GetMetricSpecResponse(metricSpecs=[spec])

    async def get_metrics(self, asked: wire.GetMetricsRequest, context: _Context) -> wire.GetMetricsResponse:
        wish = await self._wish(asked.scaledObjectRef.scalerMetadata, context)
        value = wire.MetricValue(metricName=METRIC, metricValue=wish, metricValueFloat=float(wish))
        return wire.GetMetricsResponse(metricValues=[value])

    async def _wish(self, metadata: Mapping[str, str], context: _Context) -> int:
        model = await self._model(metadata, context)
        wish = self._wishes.of(model)
        if wish is None:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, f"nothing is known of {model} yet")
        return wish

    async def _model(self, metadata: Mapping[str, str], context: _Context) -> ModelName:
        name = metadata.get("model")
        if not name:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "the trigger's metadata names no model")
        model = unit(ModelName(name), metadata.get("version", ""))
        if not self._wishes.knows(model):
            await _abort(context, grpc.StatusCode.NOT_FOUND, f"no model {model!r} is configured here")
        return model


async def _abort(context: _Context, code: grpc.StatusCode, message: str) -> NoReturn:
    await context.abort(code, message)
    raise AssertionError("abort raises")


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString())
