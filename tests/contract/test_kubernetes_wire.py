"""Our client against an API server that is not ours (kmock's): the double and the client cannot agree on a mistake."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from springtide.fleet.kubernetes_api import PODS, ApiRefused, LightkubeApi, Resource

LEASES = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[LightkubeApi]:
    from kmock import KubernetesEmulator, Server  # here: it brings a web framework that no other test loads

    handler = KubernetesEmulator()
    async with Server(handler), handler:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "k",
            "clusters": [{"name": "k", "cluster": {"server": str(handler.url).rstrip("/")}}],
            "users": [{"name": "k", "user": {}}],
            "contexts": [{"name": "k", "context": {"cluster": "k", "user": "k", "namespace": "default"}}],
        }
        (tmp_path / "config").write_text(json.dumps(config))
        one = LightkubeApi(manager="springtide", kubeconfig=tmp_path / "config")
        await one.start()
        yield one
        await one.stop()


async def test_objects_are_made_read_changed_and_deleted(api: LightkubeApi) -> None:
    made = await api.create(LEASES, {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "one"}})
    assert made["spec"]["holderIdentity"] == "one"
    merged = await api.merge(LEASES, "leader", {"spec": {"holderIdentity": None, "leaseDurationSeconds": 15}})
    assert merged["spec"] == {"leaseDurationSeconds": 15}
    assert [one["metadata"]["name"] for one in (await api.list(LEASES)).items] == ["leader"]
    await api.delete(LEASES, "leader")
    with pytest.raises(ApiRefused) as refused:
        await api.get(LEASES, "leader")
    assert refused.value.is_missing


async def test_a_watch_hears_what_comes(api: LightkubeApi) -> None:
    watch = api.watch(PODS, since="0")
    await api.create(PODS, {"metadata": {"name": "one"}, "spec": {"containers": []}})
    told = await anext(watch)
    assert (told.type, told.object["metadata"]["name"]) == ("ADDED", "one")
    await watch.aclose()
