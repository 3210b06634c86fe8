"""The API server of the tests answers as a real one does, where our clients depend on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from springtide.testing.kubernetes import COST, KubernetesDouble, kubernetes_double

APPLY = {"content-type": "application/apply-patch+yaml"}
MERGE = {"content-type": "application/merge-patch+json"}
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


def deployment(name: str = "matting", replicas: int | None = None, image: str = "one") -> dict[str, Any]:
    labels = {"app": name}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "worker", "image": image}]}},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels}, "spec": spec}


@pytest.fixture
async def double() -> AsyncIterator[KubernetesDouble]:
    async with kubernetes_double() as running:
        yield running


@pytest.fixture
async def http(double: KubernetesDouble) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=double.url, trust_env=False) as client:
        yield client


class Watch:
    """One watch, read line by line."""

    def __init__(self, http: httpx.AsyncClient, path: str, **query: str) -> None:
        self._request = http.build_request("GET", path, params={"watch": "true", **query}, timeout=60)
        self._http = http

    async def __aenter__(self) -> Watch:
        self._answer = await self._http.send(self._request, stream=True)
        self._lines = self._answer.aiter_lines()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._answer.aclose()

    async def next(self) -> tuple[str, dict[str, Any]]:
        event = json.loads(await anext(self._lines))
        return event["type"], event["object"]


async def test_what_is_created_has_an_identity_and_versions_rise(http: httpx.AsyncClient) -> None:
    made = (await http.post(DEPLOYMENTS, json=deployment(replicas=0))).json()
    assert made["metadata"]["uid"]
    assert made["metadata"]["generation"] == 1
    changed = (await http.patch(f"{DEPLOYMENTS}/matting", json={"spec": {"paused": True}}, headers=MERGE)).json()
    assert changed["metadata"]["generation"] == 2
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    again = await http.post(DEPLOYMENTS, json=deployment())
    assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")
    assert (await http.get(f"{DEPLOYMENTS}/none")).json()["reason"] == "NotFound"
    assert (await http.get("/apis/nobody.knows/v1/namespaces/default/things")).status_code == 404


async def test_a_selector_that_does_not_match_the_template_is_refused(http: httpx.AsyncClient) -> None:
    wrong = deployment()
    wrong["spec"]["selector"]["matchLabels"] = {"app": "other"}
    answer = await http.post(DEPLOYMENTS, json=wrong)
    assert answer.status_code == 422
    assert "`selector` does not match template `labels`" in answer.json()["message"]


async def test_lists_select_by_labels_and_fields_and_come_in_pages(
    http: httpx.AsyncClient, double: KubernetesDouble
) -> None:
    for name in ("a", "b", "c"):
        double.create(deployment(name, replicas=0))

    async def names(**query: str) -> list[str]:
        found = (await http.get(DEPLOYMENTS, params=query)).json()
        return [one["metadata"]["name"] for one in found["items"]]

    assert await names(labelSelector="app=a") == ["a"]
    assert await names(labelSelector="app in (a, b)") == ["a", "b"]
    assert await names(labelSelector="app notin (a),app!=b") == ["c"]
    assert await names(labelSelector="!app") == []
    assert await names(fieldSelector="metadata.name=c") == ["c"]
    first = (await http.get(DEPLOYMENTS, params={"limit": "2"})).json()
    rest = (await http.get(DEPLOYMENTS, params={"limit": "2", "continue": first["metadata"]["continue"]})).json()
    assert [len(first["items"]), len(rest["items"])] == [2, 1]


async def test_a_write_with_an_old_version_is_a_conflict(http: httpx.AsyncClient) -> None:
    lease = {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "one"}}
    made = (await http.post(LEASES, json=lease)).json()
    mine = {**made, "spec": {"holderIdentity": "two"}}
    assert (await http.put(f"{LEASES}/leader", json=mine)).status_code == 200
    late = await http.put(f"{LEASES}/leader", json={**made, "spec": {"holderIdentity": "three"}})
    assert (late.status_code, late.json()["reason"]) == (409, "Conflict")
    assert "please apply your changes to the latest version" in late.json()["message"]


async def test_whoever_applies_after_the_scale_was_written_by_another_is_told(
    http: httpx.AsyncClient, double: KubernetesDouble
) -> None:
    """As seen on a real API server: the HPA owns replicas once it has scaled."""
    mine = {"fieldManager": "springtide"}
    await http.patch(f"{DEPLOYMENTS}/matting", json=deployment(replicas=1), headers=APPLY, params=mine)
    await http.patch(
        f"{DEPLOYMENTS}/matting/scale",
        json={"spec": {"replicas": 3}},
        headers=MERGE,
        params={"fieldManager": "kube-controller-manager"},
    )
    assert len(double.cluster.pods("matting")) == 3
    answer = await http.patch(f"{DEPLOYMENTS}/matting", json=deployment(replicas=1), headers=APPLY, params=mine)
    assert answer.status_code == 409
    wanted = 'Apply failed with 1 conflict: conflict with "kube-controller-manager" with subresource "scale"'
    assert answer.json()["message"] == f"{wanted}: .spec.replicas"
    without = await http.patch(f"{DEPLOYMENTS}/matting", json=deployment(image="two"), headers=APPLY, params=mine)
    assert without.json()["spec"]["replicas"] == 3
    assert without.json()["spec"]["template"]["spec"]["containers"] == [{"name": "worker", "image": "two"}]
    forced = {**mine, "force": "true"}
    taken = await http.patch(f"{DEPLOYMENTS}/matting", json=deployment(replicas=1), headers=APPLY, params=forced)
    assert taken.json()["spec"]["replicas"] == 1


async def test_a_field_that_is_applied_no_more_goes_unless_somebody_else_owns_it(http: httpx.AsyncClient) -> None:
    async def apply(data: dict[str, str], manager: str) -> dict[str, str]:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": data}
        path = "/api/v1/namespaces/default/configmaps/map"
        return (await http.patch(path, json=body, headers=APPLY, params={"fieldManager": manager})).json()["data"]

    await apply({"mine": "1", "ours": "2"}, "one")
    await apply({"ours": "2"}, "two")
    assert await apply({"new": "3"}, "one") == {"ours": "2", "new": "3"}


async def test_a_dry_run_changes_nothing(http: httpx.AsyncClient, double: KubernetesDouble) -> None:
    await http.post(DEPLOYMENTS, json=deployment(), params={"dryRun": "All"})
    assert double.all("Deployment") == []


async def test_a_watch_tells_what_happened_since_a_version_and_what_stops_matching_is_gone(
    http: httpx.AsyncClient, double: KubernetesDouble
) -> None:
    since = (await http.get(DEPLOYMENTS)).json()["metadata"]["resourceVersion"]
    double.create(deployment("matting", replicas=0))
    async with Watch(http, DEPLOYMENTS, resourceVersion=since, labelSelector="app=matting") as watch:
        assert (await watch.next())[0] == "ADDED"
        double.create(deployment("other", replicas=0))
        double.change("Deployment", "matting", lambda one: {**one, "metadata": {**one["metadata"], "labels": {}}})
        kinds = [await watch.next() for _ in range(2)]
        assert [kind for kind, _ in kinds][-1] == "DELETED"


async def test_a_watch_hears_of_a_change_before_what_follows_from_it(
    http: httpx.AsyncClient, double: KubernetesDouble
) -> None:
    async with Watch(http, DEPLOYMENTS, resourceVersion=str(double.store.version)) as watch:
        double.create(deployment(replicas=2))
        versions = [int((await watch.next())[1]["metadata"]["resourceVersion"]) for _ in range(2)]
    assert versions == sorted(versions)


async def test_a_watch_from_before_the_history_is_expired(http: httpx.AsyncClient, double: KubernetesDouble) -> None:
    since = (await http.get(DEPLOYMENTS)).json()["metadata"]["resourceVersion"]
    double.store.forget_history()
    async with Watch(http, DEPLOYMENTS, resourceVersion=since) as watch:
        kind, status = await watch.next()
    assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")


async def test_a_watch_that_asks_for_them_gets_bookmarks(http: httpx.AsyncClient, double: KubernetesDouble) -> None:
    double.bookmark_every(0.001)
    async with Watch(http, PODS, resourceVersion=str(double.store.version), allowWatchBookmarks="true") as watch:
        kind, mark = await watch.next()
    assert (kind, mark["metadata"]["resourceVersion"]) == ("BOOKMARK", str(double.store.version))


async def test_pods_leave_in_the_order_of_a_replica_set(http: httpx.AsyncClient, double: KubernetesDouble) -> None:
    double.create(deployment(replicas=4))
    unready, cheap, dear, plain = [pod["metadata"]["name"] for pod in double.cluster.pods("matting")]
    double.cluster.loading(unready)
    for name, cost in ((cheap, "-10"), (dear, "10")):
        await http.patch(f"{PODS}/{name}", json={"metadata": {"annotations": {COST: cost}}}, headers=MERGE)
    left: list[set[str]] = []
    for replicas in (3, 2, 1):
        await http.patch(f"{DEPLOYMENTS}/matting/scale", json={"spec": {"replicas": replicas}}, headers=MERGE)
        left.append({pod["metadata"]["name"] for pod in double.cluster.pods("matting")})
    assert left == [{cheap, dear, plain}, {dear, plain}, {dear}]


async def test_a_pod_that_holds_on_is_terminating_until_it_is_gone(
    http: httpx.AsyncClient, double: KubernetesDouble
) -> None:
    double.cluster.holds_leaving = True
    double.create(deployment(replicas=1))
    [name] = [pod["metadata"]["name"] for pod in double.cluster.pods("matting")]
    await http.delete(f"{PODS}/{name}")
    there = double.cluster.pods("matting")
    assert [bool(pod["metadata"].get("deletionTimestamp")) for pod in there] == [True, False]  # its successor
    double.cluster.gone(name)
    assert len(double.cluster.pods("matting")) == 1


async def test_a_quota_shows_in_the_deployment_and_too_little_room_in_the_pod(double: KubernetesDouble) -> None:
    double.cluster.quota, double.cluster.room = 2, 1
    double.create(deployment(replicas=3))
    [failure] = double.get("Deployment", "matting")["status"]["conditions"]
    assert (failure["type"], "exceeded quota" in failure["message"]) == ("ReplicaFailure", True)
    unplaced = double.cluster.pods("matting")[-1]["status"]["conditions"][0]
    assert unplaced["reason"] == "Unschedulable"


async def test_dependents_go_with_their_owner(http: httpx.AsyncClient, double: KubernetesDouble) -> None:
    double.create(deployment(replicas=2))
    await http.delete(f"{DEPLOYMENTS}/matting")
    assert double.all("Pod") == []


async def test_faults_come_as_ordered(http: httpx.AsyncClient, double: KubernetesDouble) -> None:
    double.fail(code=429, retry_after_s=7, verb="list")
    answer = await http.get(PODS)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    double.fail(drop=True, after=True)
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(DEPLOYMENTS, json=deployment(replicas=0))
    assert len(double.all("Deployment")) == 1  # it was done, and only the answer was lost


async def test_a_killed_server_comes_back_on_its_port_with_its_objects(
    http: httpx.AsyncClient, double: KubernetesDouble
) -> None:
    double.create(deployment(replicas=0))
    async with Watch(http, DEPLOYMENTS, resourceVersion=str(double.store.version)) as watch:
        reading = asyncio.create_task(watch.next())
        await double.kill()
        with pytest.raises(httpx.TransportError):
            await reading
    with pytest.raises(httpx.ConnectError):
        await http.get(DEPLOYMENTS)
    await double.start()
    assert (await http.get(f"{DEPLOYMENTS}/matting")).status_code == 200


async def test_rights_are_asked_by_verb_and_subresource(http: httpx.AsyncClient, double: KubernetesDouble) -> None:
    double.create(deployment(replicas=1))
    double.rights = frozenset({("apps", "deployments/scale", "patch")})
    assert (await http.patch(f"{DEPLOYMENTS}/matting/scale", json={}, headers=MERGE)).status_code == 200
    assert (await http.patch(f"{DEPLOYMENTS}/matting", json={}, headers=MERGE)).status_code == 403
