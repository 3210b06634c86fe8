"""The fleet finds and scales what is rendered, with the rights that are rendered; another apply fights nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from deploy_checks import MATRIX, of_kind

from springtide.deploy import render
from springtide.deploy.values import installation
from springtide.domain.fleet import Decision
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet.kubernetes import KubernetesFleet
from springtide.fleet.kubernetes_election import Election
from springtide.fleet.rights import CONTROLLER, as_triples
from springtide.telemetry.metrics_catalogue import CATALOGUE
from springtide.testing.cluster import Cluster, M, cluster_world

PATH, SETS = MATRIX["versions"]


async def apply(cluster: Cluster, each: dict[str, Any]) -> None:
    """As `kubectl apply --server-side` does it."""
    url = f"{cluster.double.url}/apis/apps/v1/namespaces/default/deployments/{each['metadata']['name']}"
    rights, cluster.double.rights = cluster.double.rights, None  # an operator's
    async with httpx.AsyncClient() as client:
        answer = await client.patch(
            url,
            params={"fieldManager": "kubectl"},
            content=json.dumps(each),
            headers={"content-type": "application/apply-patch+yaml"},
        )
    cluster.double.rights = rights
    assert answer.is_success, answer.text


async def test_the_fleet_scales_what_is_rendered_and_an_apply_leaves_it_so(tmp_path: Path) -> None:
    to = installation(PATH, (*SETS, "kubernetes.namespace=default"))
    workers = {name: each for name, each in of_kind(render.objects(to), "Deployment").items() if "-worker-" in name}
    async with cluster_world(tmp_path) as cluster:
        for each in workers.values():
            await apply(cluster, each)
        names = [ModelName(name) for name in ("matting", "matting@2026-11", "speech", "speech@2", "finishing")]
        fleet = KubernetesFleet(cluster.api, cluster.clock, names, instance=to.name, may_act=lambda: True)
        await fleet.start()
        try:
            await fleet.seen()
            for wanted, model in enumerate(names, start=1):
                decision = Decision(model=model, replicas=wanted, reason="QUEUE", message="jobs wait")
                await fleet.apply(decision, drain_first=[])
            wished = {name.replace("@", "--"): wanted for wanted, name in enumerate(names, start=1)}
            await cluster.until(lambda: _replicas(cluster) == wished)
            for each in workers.values():
                await apply(cluster, each)
            assert _replicas(cluster) == wished
        finally:
            await fleet.stop(0.0)


def test_the_role_that_is_rendered_is_what_the_fleet_is_tested_with() -> None:
    assert granted(render.objects(installation(PATH, SETS)), "controller") == as_triples(CONTROLLER)


async def test_the_controller_uses_every_right_of_its_role_and_no_other(tmp_path: Path) -> None:
    """Out, in with an idle pod marked, an ordered drain, leadership, a pod whose share does not mount: recorded as the
    API server authorizes it, and compared with the Role as it is rendered."""
    async with cluster_world(tmp_path) as cluster:
        cluster.deployment()
        election = Election(cluster.api, cluster.clock, lease="springtide-controller", me="one")
        await election.start()
        await cluster.until(lambda: election.leads)
        fleet = KubernetesFleet(cluster.api, cluster.clock, [M], instance="springtide", may_act=lambda: election.leads)
        await fleet.start()
        try:
            await fleet.seen()
            for replicas in (2, 1):
                idle = [WorkerId(name) for name in cluster.pods()[:1]]
                decision = Decision(model=M, replicas=replicas, reason="QUEUE", message="jobs wait")
                await fleet.apply(decision, drain_first=idle)
                await cluster.until(lambda wished=replicas: cluster.replicas() == wished and not fleet._acts)
                await cluster.until(lambda: set(fleet._pods.objects) == set(cluster.pods()))
            await fleet.drain([WorkerId(cluster.pods()[0])])
            await cluster.until(lambda: not fleet._errands)
            [name] = cluster.pods()
            cluster.double.cluster.fails_to_mount(name, "mount.nfs: Connection timed out")
            await cluster.until(lambda: name in fleet._pods.objects)
            await fleet.observe()
            await cluster.clock.advance(60)
            await fleet.observe()
            await cluster.until(lambda: cluster.double.count(verb="list", plural="events") == 1)
        finally:
            await fleet.stop(0.0)
            await election.stop()
        used = {
            (one.kind.group, one.kind.plural + (f"/{one.subresource}" if one.subresource else ""), one.verb)
            for one in cluster.double.requests
        }
        assert used == granted(render.objects(installation(PATH, SETS)), "controller")


def granted(objects: list[dict[str, Any]], part: str) -> set[tuple[str, str, str]]:
    [role] = [each for name, each in of_kind(objects, "Role").items() if name.endswith(part)]
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_autoscalers_ask_for_metrics_that_are_told() -> None:
    from springtide.deploy.scaling import QUEUE_METRIC

    assert QUEUE_METRIC in CATALOGUE
    assert [label.name for label in CATALOGUE[QUEUE_METRIC].labels] == ["model"]


def _replicas(cluster: Cluster) -> dict[str, int]:
    """By what follows the prefix. An API server that is told none makes it one; the double leaves it out."""
    found = cluster.double.all("Deployment")
    return {each["metadata"]["name"].partition("-worker-")[2]: each["spec"].get("replicas", 1) for each in found}
