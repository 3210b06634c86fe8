"""A rollout's weights as HTTP routes of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.config import Config
from springtide.deploy.installation import Installation
from springtide.deploy.rollouts import WHOLE, configured, http_route, objects, virtual_service
from springtide.domain.errors import ConfigError

SERVICES = {"1": "matting-1", "2": "matting-2"}
ROOT = Path(__file__).parents[2]


@given(st.floats(0, 100))
def test_weights_are_whole_and_make_up_the_whole(weight: float) -> None:
    made = http_route("matting", "edge", SERVICES, {"1": 100 - weight, "2": weight}, 8000)
    refs = made["spec"]["rules"][0]["backendRefs"]
    assert sum(ref["weight"] for ref in refs) == WHOLE
    assert all(isinstance(ref["weight"], int) and ref["weight"] >= 0 for ref in refs)
    assert abs(refs[1]["weight"] - weight * WHOLE / 100) <= 1


def test_the_same_weights_go_to_istio() -> None:
    made = virtual_service("matting", "matting.models.svc", SERVICES, {"1": 90.0, "2": 10.0, "3": 0.0})
    [route] = made["spec"]["http"]
    assert [(each["destination"]["host"], each["weight"]) for each in route["route"]] == [
        ("matting-1", 9000),
        ("matting-2", 1000),
    ]


def test_a_version_with_a_weight_and_no_service_is_told() -> None:
    with pytest.raises(ConfigError, match="version 2"):
        virtual_service("matting", "host", {"1": "matting-1"}, {"1": 90.0, "2": 10.0})


def test_the_routes_have_the_shape_of_their_definitions(definitions: Callable[..., Any]) -> None:
    problems = definitions("gateway.networking.k8s.io_httproutes", "istio")
    weights = {"1": 90.0, "2": 10.0}
    for made in (
        http_route("matting", "edge", SERVICES, weights, 80),
        virtual_service("matting", "matting.models.svc", SERVICES, weights),
    ):
        assert problems(made) == []


def test_the_weights_of_now_go_into_the_object_that_is_rendered() -> None:
    given = {"services": SERVICES, "weights": {"1": 100.0}, "host": "m.svc"}
    to = Installation(Config(kubernetes={"routes": {"matting": given}}), {})
    [rendered] = objects(to)
    now = configured(to, "matting", to.settings.routes["matting"], {"1": 60.0, "2": 40.0})
    assert {**now, "spec": None} == {**rendered, "spec": None}
    assert [one["weight"] for one in now["spec"]["http"][0]["route"]] == [6000, 4000]
