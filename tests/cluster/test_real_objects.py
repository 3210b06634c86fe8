"""Every object that is rendered is taken by the API server: server-side apply of each as a dry run, fields strict.

In a cluster that tells of validation, defaults and admission what no schema does; kinds that it has not learnt are
passed over, and said so. The double tells whether the objects may be applied so at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from cluster_places import Place
from deploy_checks import MATRIX

from springtide.cli.worker_specs import worker_spec
from springtide.deploy import render, rollouts
from springtide.deploy.values import installation
from springtide.domain.errors import Unavailable
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.lease import Lease, Payload
from springtide.fleet import gang_objects
from springtide.fleet.kubernetes_api import ApiRefused, Object, Resource
from springtide.testing.kubernetes import Kind
from springtide.testing.kubernetes.fields import merged

PLURALS = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses", "PriorityClass": "priorityclasses"}
OF_THE_CLUSTER = {"PriorityClass"}
CUSTOM = {"ScaledObject", "HTTPRoute", "VirtualService", "PodMonitor", "PyTorchJob", "TrainJob", "TrainingRuntime"}
PROMPT = "{{ name }} {% if x %} \"'\\ - a: b\n  c: |\n\t$(HOME) \u2028"


def resource_of(each: Object) -> Resource:
    group, _, version = each["apiVersion"].rpartition("/")
    plural = PLURALS.get(each["kind"], f"{each['kind'].lower()}s")
    is_namespaced = each["kind"] not in OF_THE_CLUSTER
    return Resource(group=group, version=version, plural=plural, kind=each["kind"], is_namespaced=is_namespaced)


async def refusals(place: Place, objects: Sequence[Object]) -> list[str]:
    """What the API server says no to."""
    found: list[str] = []
    for each in objects:
        what, name = resource_of(each), each["metadata"]["name"]
        query = {"dryRun": "All", "fieldValidation": "Strict", "force": "true"}
        try:
            path = place.api._path(what, name)
            await place.api._ask("PATCH", path, query=query, body=each, kind="application/apply-patch+yaml")
        except (ApiRefused, Unavailable) as error:  # what apply cannot read at all is answered with 500
            if isinstance(error, ApiRefused) and error.is_missing and each["kind"] in CUSTOM:
                warnings.warn(f"the cluster has no {each['kind']}: not tried", stacklevel=1)
                continue
            found.append(f"{each['kind']} {name}: {error.message}")
    return found


@pytest.fixture
def learnt(place: Place) -> Place:
    """The double has learnt every kind."""
    double: Any = getattr(place, "double", None)
    if double is not None:
        for group, version, kind in (
            ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
            ("networking.istio.io", "v1", "VirtualService"),
            ("monitoring.coreos.com", "v1", "PodMonitor"),
            ("trainer.kubeflow.org", "v1alpha1", "TrainingRuntime"),
        ):
            double.kinds.add(Kind(group=group, version=version, plural=f"{kind.lower()}s", name=kind))
    return place


@pytest.mark.parametrize("name", MATRIX)
async def test_every_object_of_every_configuration_is_taken(learnt: Place, name: str) -> None:
    path, sets = MATRIX[name]
    to = installation(path, (*sets, f"kubernetes.namespace={learnt.namespace}"))
    assert await refusals(learnt, render.objects(to)) == []


@pytest.mark.parametrize("name", ["distributed", "trainjobs"])
async def test_the_object_of_an_attempt_is_taken(learnt: Place, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    [settings] = worker_spec(installation(*MATRIX[name]).config, "film", WorkerId("film-1")).models
    assert settings.gang is not None and settings.gang_pods is not None
    lease = Lease(
        id=JobId("job_" + "0123456789abcdef" * 2),
        model=ModelName("film"),
        tenant=TenantId("t"),
        worker=WorkerId("film-1"),
        attempt=1,
        max_attempts=3,
        payload=msgspec.msgpack.encode(Payload(inputs={"prompt": PROMPT})),
        timeout_s=100.0,
        enqueued_at_s=0.0,
    )
    made = gang_objects.render(lease, settings.gang, settings.gang_pods, runs_as=settings.runs_as)
    assert await refusals(learnt, [made]) == []


async def test_weights_of_a_rollout_are_taken(learnt: Place) -> None:
    services, weights = {"1": "matting-1", "2": "matting-2"}, {"1": 90.0, "2": 10.0}
    routes = [
        rollouts.http_route("matting", "edge", services, weights, 80),
        rollouts.virtual_service("matting", "matting.example.com", services, weights),
    ]
    assert await refusals(learnt, routes) == []


async def test_what_is_wrong_is_refused(learnt: Place) -> None:
    """The tests above can fail; and what `deploy` refuses by itself the API server would."""
    objects = render.objects(installation(MATRIX["trial"][0], (f"kubernetes.namespace={learnt.namespace}",)))
    [one] = [each for each in objects if each["kind"] == "Deployment" and each["metadata"]["name"].endswith("gateway")]
    [policy, *_] = [each for each in objects if each["kind"] == "NetworkPolicy"]
    [container] = one["spec"]["template"]["spec"]["containers"]
    twice = [*container["env"], container["env"][-1]]
    greedy = {"requests": {"cpu": "8"}, "limits": {"cpu": "4"}}
    nobody = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": []}]}
    wrong = [
        merged(one, {"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
        merged(one, {"spec": {"template": {"spec": {"containers": [{**container, "env": twice}]}}}}),
        merged(one, {"spec": {"template": {"spec": {"containers": [{**container, "resources": greedy}]}}}}),
        merged(policy, {"spec": {"ingress": [{"from": [{"namespaceSelector": nobody}]}]}}),
    ]
    said = [await refusals(learnt, [each]) for each in wrong]
    for (message,), words in zip(said, ("does not match", "duplicate", "cpu limit", "must be specified"), strict=True):
        assert words in message
