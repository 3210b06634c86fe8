"""KEDA's external scaler, asked over gRPC as KEDA asks it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName
from springtide.fleet import externalscaler_pb2 as wire
from springtide.fleet.keda import METRIC, SERVICE, ExternalScaler
from springtide.fleet.wishes import Wishes

M = ModelName("matting")
FLEET = Path(__file__).parents[2] / "src" / "springtide" / "fleet"


class Keda:
    """What KEDA's client does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def ref(self, **metadata: str) -> wire.ScaledObjectRef:
        return wire.ScaledObjectRef(name="matting", namespace="default", scalerMetadata={"model": M, **metadata})

    async def call(self, method: str, message: Any, answer: Any) -> Any:
        call = self._channel.unary_unary(f"/{SERVICE}/{method}", _bytes, answer.FromString)
        return await call(message, timeout=60)

    async def is_active(self, **metadata: str) -> bool:
        return bool((await self.call("IsActive", self.ref(**metadata), wire.IsActiveResponse)).result)

    async def metric(self, **metadata: str) -> tuple[str, int, float]:
        asked = wire.GetMetricsRequest(scaledObjectRef=self.ref(**metadata), metricName=METRIC)
        [value] = (await self.call("GetMetrics", asked, wire.GetMetricsResponse)).metricValues
        return value.metricName, value.metricValue, value.metricValueFloat

    def stream(self, **metadata: str) -> Any:
        ask = self._channel.unary_stream(f"/{SERVICE}/StreamIsActive", _bytes, wire.IsActiveResponse.FromString)
        return ask(self.ref(**metadata))


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString())


@pytest.fixture
def wishes() -> Wishes:
    return Wishes([M, ModelName("matting@2")])


@pytest.fixture
async def keda(wishes: Wishes) -> AsyncIterator[Keda]:
    scaler = ExternalScaler(wishes, "127.0.0.1:0")
    await scaler.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{scaler.port}") as channel:
        yield Keda(channel)
    await scaler.stop()


async def test_the_metric_is_the_wish_and_its_target_one(keda: Keda, wishes: Wishes) -> None:
    wishes.tell(M, 7)
    [spec] = (await keda.call("GetMetricSpec", keda.ref(), wire.GetMetricSpecResponse)).metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == (METRIC, 1, 1.0)
    assert await keda.metric() == (METRIC, 7, 7.0)
    assert await keda.is_active()


async def test_nothing_wished_is_inactive_and_zero(keda: Keda, wishes: Wishes) -> None:
    wishes.tell(M, 0)
    assert not await keda.is_active()
    assert await keda.metric() == (METRIC, 0, 0.0)


async def test_the_last_wish_is_answered_for_as_long_as_there_is_no_other(keda: Keda, wishes: Wishes) -> None:
    wishes.tell(M, 3)
    assert [await keda.metric() for _ in range(3)] == [(METRIC, 3, 3.0)] * 3


async def test_a_wish_that_was_never_heard_is_an_error_and_not_zero(keda: Keda) -> None:
    for asking in (keda.is_active(), keda.metric()):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await asking
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_model_that_is_not_configured_is_an_error(keda: Keda) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await keda.is_active(model="other")
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await keda.is_active(model="")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_versions_are_asked_for_apart(keda: Keda, wishes: Wishes) -> None:
    wishes.tell(M, 4)
    wishes.tell(ModelName("matting@2"), 1)
    assert await keda.metric(version="stable") == (METRIC, 4, 4.0)
    assert await keda.metric(version="2") == (METRIC, 1, 1.0)


async def test_a_wake_from_zero_is_pushed_and_only_what_changes_is(keda: Keda, wishes: Wishes) -> None:
    stream = keda.stream()
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    wishes.tell(M, 0)
    assert not (await reading).result
    for replicas in (2, 5):
        wishes.tell(M, replicas)
    assert (await stream.read()).result, "5 after 2 is no news: it was active already"
    wishes.tell(M, 0)
    assert not (await stream.read()).result
    stream.cancel()


async def test_a_stream_begins_with_how_things_are(keda: Keda, wishes: Wishes) -> None:
    wishes.tell(M, 1)
    stream = keda.stream()
    assert (await stream.read()).result
    stream.cancel()


async def test_an_address_where_nobody_can_listen_is_a_mistake_in_the_configuration(wishes: Wishes) -> None:
    one = ExternalScaler(wishes, "127.0.0.1:0")
    await one.start()
    with pytest.raises(ConfigError, match=r"kubernetes\.keda\.listen"):
        await ExternalScaler(wishes, f"127.0.0.1:{one.port}").start()
    await one.stop()


def test_the_code_is_made_from_the_proto(tmp_path: Path) -> None:
    """With any later protoc: what it makes differs in its version only."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{FLEET}", f"--python_out={tmp_path}"]
    subprocess.run([*command, "externalscaler.proto"], check=True)
    made, kept = (_descriptor(folder / "externalscaler_pb2.py") for folder in (tmp_path, FLEET))
    assert made == kept, "run what the .proto says in its head"


def _descriptor(path: Path) -> str:
    [line] = [line for line in path.read_text().splitlines() if "AddSerializedFile" in line]
    return line
