"""The OpenAPI document against the gateway itself: whatever fits it is answered without a server error, and with a
status that the document has. A few examples for each operation, the same ones every time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world
from hypothesis import HealthCheck, Phase, given, seed, settings

EXAMPLES = 8  # of each operation
HELD_S = 1.0  # longer than any answer takes that waits for no job


class Served:
    """A gateway on a loop of its own, for tests that are not asynchronous."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._world = gateway_world(folder, max_wait_s=0.01, keep_alive_s=0.05, record_wait_s=0.01, openai_wait_s=0.01)
        self.world: World = self.run(self._world.__aenter__())
        self.document: dict[str, Any] = self.run(self.world.http.get("/openapi.json")).json()

    def run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self.world.services.closing.set()
        self.run(self._world.__aexit__(None, None, None))
        self._loop.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("openapi"))
    yield made
    made.close()


def test_every_operation_answers_only_as_the_document_says(served: Served) -> None:
    import schemathesis  # here: half a second that no other test needs

    schema = schemathesis.openapi.from_dict(served.document)
    failures: list[str] = []
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        count += 1
        failures += _tried(served, operation)
    assert count == sum(len(methods) for methods in served.document["paths"].values())
    assert not failures, "\n".join(sorted(set(failures)))


def test_generators_of_clients_can_read_it(served: Served) -> None:
    """What openapi-python-client and openapi-typescript trip over, or make ugly names of."""
    operations = [operation for methods in served.document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert {"submit", "getJob", "listModels", "openaiVideosCreate"} <= set(names)
    assert not any(name.lower().startswith("v1") for name in names)
    text = json.dumps(served.document)
    assert '"prefixItems"' not in text and '"items": false' not in text
    refusals = [
        (operation["operationId"], status, schema)
        for operation in operations
        for status, answer in operation["responses"].items()
        if status.startswith("4")
        for schema in answer["content"].values()
    ]
    assert len(refusals) > len(operations)
    for name, status, body in refusals:
        assert body["schema"]["$ref"].rpartition("/")[2] in {"Problem", "ErrorEnvelope"}, (name, status)


def _tried(served: Served, operation: Any) -> list[str]:
    documented = set(operation.definition.raw["responses"])
    failures: list[str] = []

    @seed(7)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def answered(case: Any) -> None:
        sent = _request(case)
        answer = served.run(_answer(served.world, operation.method, sent))
        if answer is None:
            return
        if answer.status_code >= 500 and answer.status_code not in (501, 503, 504):
            failures.append(f"{operation.label}: {answer.status_code} {answer.text[:300]} for {str(sent)[:600]}")
        elif str(answer.status_code) not in documented:
            failures.append(f"{operation.label}: {answer.status_code} is not documented: {answer.text[:200]}")

    answered()
    return failures


async def _answer(world: World, method: str, sent: dict[str, Any]) -> httpx.Response | None:
    """None where the answer is held until a job ends, which nobody runs here."""
    try:
        return await asyncio.wait_for(world.http.request(method, **sent), HELD_S)
    except TimeoutError:
        return None


def _request(case: Any) -> dict[str, Any]:
    made = case.as_transport_kwargs(base_url="http://media.test")
    sent = {name: made[name] for name in ("url", "params", "headers", "json", "files", "data") if made.get(name)}
    if isinstance(sent.get("data"), bytes | str):
        sent["content"] = sent.pop("data")
    if "files" in sent:
        sent["files"] = [(name, _part(value)) for name, value in sent["files"]]
    return sent


def _part(value: Any) -> Any:
    """A part of a form; httpx takes texts, bytes and files, and no numbers."""
    if isinstance(value, tuple):
        return (value[0], _part(value[1]), *value[2:])
    return value if isinstance(value, str | bytes) or hasattr(value, "read") else str(value)
