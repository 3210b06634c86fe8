"""Whether Kubernetes objects have the shape of their kind, and, what no schema tells, whether they fit together."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate.utils
from referencing import Registry, Resource

Object = dict[str, Any]
ROOT = Path(__file__).parents[2]
PRODUCTION, TRIAL = ROOT / "deploy" / "production.toml", ROOT / "deploy" / "trial.toml"
GOLDEN = ROOT / "tests" / "data" / "deploy"
MATRIX: dict[str, tuple[Path | None, tuple[str, ...]]] = {
    "production": (PRODUCTION, ()),
    "trial": (TRIAL, ()),
    "example": (ROOT / "springtide.example.toml", ("kubernetes.trial.s3=true",)),
    "own-scaling": (
        PRODUCTION,
        (
            "kubernetes.scaling=springtide",
            "kubernetes.name=media",
            "kubernetes.namespace=x",
            "kubernetes.network={monitoring_namespaces=[], egress_ports=[]}",
        ),
    ),
    "hpa": (PRODUCTION, ("kubernetes.scaling=hpa",)),
    "polled": (PRODUCTION, ("kubernetes.keda={push=false, fallback_replicas=0, exact=true}",)),
    "image-volume": (
        PRODUCTION,
        (
            'kubernetes.weights={image="registry.example.com/weights:7", cache="pod"}',
            "kubernetes.ingress.enabled=false",
        ),
    ),
    "route": (
        PRODUCTION,
        (
            'kubernetes.http_route={enabled=true, gateway="edge", gateway_namespace="edge", hosts=["a.example.com"]}',
            "kubernetes.network.from_namespaces=['edge']",
            "kubernetes.pod_monitors=false",
        ),
    ),
    "versions": (
        PRODUCTION,
        (
            "models.speech.versions.2={max_replicas=2, timeout_s=9000, engine='synthetic'}",
            "models.matting.versions.2026-11={accelerators=2.0, warm_up='auto'}",
            'kubernetes.models."speech@2"={image="registry.example.com/springtide/worker:0.2.0", gpu_memory_mb=9000}',
            "kubernetes.network.cloud_metadata=true",
            "kubernetes.routes.speech={services={1='speech-1', 2='speech-2'}, weights={1=66.6, 2=33.4}, host='a.b'}",
            "kubernetes.routes.matting={services={1='m-1', 2='m-2'}, weights={1=90, 2=10}, gateway='edge', port=81}",
        ),
    ),
    "distributed": (
        PRODUCTION,
        (
            "models.film={engine='synthetic', execution='distributed', group={processes=4, gpus_each=1}}",
            "kubernetes.models.film={variables={A='b'}}",
        ),
    ),
    "trainjobs": (
        PRODUCTION,
        (
            "models.film={engine='synthetic', execution='distributed', group={processes=4, gpus_each=2, cpus_each=1.5, "
            "memory_mb_each=9000, runs_as='trainjob', volcano_queue='films'}}",
            "models.song={engine='synthetic', execution='distributed'}",
            "models.film.versions.2={max_replicas=2}",
            "kubernetes.models.film={variables={A='b'}, scheduler='volcano', runtime_class='nvidia'}",
            'kubernetes.weights={image="registry.example.com/weights:7", cache="pod"}',
        ),
    ),
    "mig": (PRODUCTION, ("kubernetes.worker.gpu_resource=nvidia.com/mig-3g.20gb", "models.matting.accelerators=2")),
    "no-policies": (
        TRIAL,
        (
            "kubernetes.network.policies=false",
            'kubernetes.secrets={access_key_id="", secret_access_key=""}',
            "kubernetes.trial.storage_class=fast",
            'models."odd.name_here"={engine="synthetic"}',
        ),
    ),
}


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


class Unknown(Exception):
    """A kind of which Kubernetes itself has no schema."""


def misshapen(each: Object, version: str) -> list[str]:
    """What `kubernetes-validate --strict` would say; its own function reads three megabytes for every object."""
    return list(_misshapen(json.dumps(each, sort_keys=True), version))


@functools.cache
def _misshapen(text: str, version: str) -> tuple[str, ...]:
    each = json.loads(text)
    validator = _validator(each["kind"], each["apiVersion"], version)
    return tuple(f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(each))


@functools.cache
def _validator(kind: str, api_version: str, version: str) -> Any:
    group, _, number = api_version.rpartition("/")
    name = f"{kind.lower()}-{group.split('.')[0] + '-' if group else ''}{number}"
    folder = _folder(version)
    try:
        schema = kubernetes_validate.utils.schema_contents(f"{folder}/{name}.json", version)
    except FileNotFoundError as error:
        raise Unknown(f"{kind} of {api_version}") from error
    registry = Resource.from_contents(schema) @ _definitions(version)
    return jsonschema.validators.Draft202012Validator(schema, registry=registry)


@functools.cache
def _definitions(version: str) -> Any:
    contents = kubernetes_validate.utils.schema_contents(f"{_folder(version)}/_definitions.json", version)
    return Resource.from_contents(contents) @ Registry()


def _folder(version: str) -> str:
    full = [one for one in kubernetes_validate.utils.all_versions() if one.startswith(f"{version}.")][-1]
    return f"kubernetes-json-schema/v{full}-local-strict"


def complaints(objects: Sequence[Object]) -> list[str]:
    """All of them."""
    there = {(each["kind"], each["metadata"]["name"]) for each in objects}
    found = [f"{kind} {name}: twice" for kind, name in there if _count(objects, kind, name) > 1]
    for each in objects:
        where = f"{each['kind']} {each['metadata']['name']}"
        found += [f"{where}: {text}" for text in (*_nothing_empty(each), *_references(each, there))]
        if each["kind"] in ("Deployment", "StatefulSet"):
            found += [f"{where}: {text}" for text in _workload(each)]
        if each["kind"] == "NetworkPolicy":
            found += [f"{where}: {text}" for text in _policy(each["spec"])]
        for template in templates(each):
            found += [f"{where}: {text}" for text in _pod(template, each)]
    found += _selectors(objects)
    return found


def _count(objects: Sequence[Object], kind: str, name: str) -> int:
    return sum((each["kind"], each["metadata"]["name"]) == (kind, name) for each in objects)


def _nothing_empty(value: Any, path: str = "") -> Iterator[str]:
    """No null anywhere, no status at the top."""
    if value is None:
        yield f"{path} is null"
    if not path and "status" in value:
        yield "has a status"
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        yield from _nothing_empty(inner, f"{path}.{key}")


def templates(each: Object) -> list[Object]:
    """Of the pods that an object makes."""
    if each["kind"] in ("Deployment", "StatefulSet"):
        return [each["spec"]["template"]]
    if each["kind"] == "TrainingRuntime":
        return [job["template"]["spec"]["template"] for job in each["spec"]["template"]["spec"]["replicatedJobs"]]
    return []


def _workload(each: Object) -> Iterator[str]:
    spec = each["spec"]
    labels = spec["template"]["metadata"]["labels"]
    if not spec["selector"]["matchLabels"].items() <= labels.items():
        yield "the selector does not match the template's labels"
    if labels["app.kubernetes.io/component"] == "worker" and "replicas" in spec:
        yield "has replicas, which belong to who scales"


def _policy(spec: Object) -> Iterator[str]:
    for rule in (*spec["ingress"], *spec["egress"]):
        if rule.get("ports") == [] or rule.get("from") == [] or rule.get("to") == []:
            yield "has an empty list, which means all"
        for peer in (*rule.get("from", ()), *rule.get("to", ())):
            for one in peer.get("namespaceSelector", {}).get("matchExpressions", ()):
                if not one["values"]:
                    yield f"selects by {one['key']} in nothing, which the API server refuses"


def _pod(template: Object, each: Object) -> Iterator[str]:
    pod, claims = template["spec"], each["spec"].get("volumeClaimTemplates", [])
    if pod["securityContext"].get("runAsNonRoot") is not True or not pod["securityContext"].get("runAsUser"):
        yield "may run as root"
    if pod["securityContext"].get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccomp profile"
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in claims}
    used: set[str] = set()
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        yield from _container(container)
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        used |= mounts
        if strangers := mounts - volumes:
            yield f"{container['name']} mounts {strangers}, which is no volume"
    if unused := volumes - used:
        yield f"nobody mounts {unused}"


def _container(container: Object) -> Iterator[str]:
    name, security = container["name"], container["securityContext"]
    if security.get("allowPrivilegeEscalation") is not False or security.get("readOnlyRootFilesystem") is not True:
        yield f"{name} may write its image or gain privileges"
    if security.get("capabilities") != {"drop": ["ALL"]}:
        yield f"{name} has capabilities"
    resources = container["resources"]
    if not {"cpu", "memory"} <= resources["requests"].keys() & resources["limits"].keys():
        yield f"{name} has no requests or limits"
    requests, limits = ({k: v for k, v in part.items() if "/" in k} for part in resources.values())
    if requests != limits:
        yield f"{name} asks for GPUs otherwise than it is limited to"
    if container["image"].endswith(":latest") or ":" not in container["image"].rpartition("/")[2]:
        yield f"{name} has no pinned image"
    ports = {port["name"] for port in container.get("ports", [])}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container.get(kind, {})
        if (port := probe.get("httpGet", {}).get("port")) and port not in ports:
            yield f"{name}'s {kind} asks port {port}, which is none"
        if kind == "readinessProbe" and "terminationGracePeriodSeconds" in probe:
            yield f"{name}'s {kind} has a grace period, which the API server refuses"
    seen: set[str] = set()
    for variable in container.get("env", []):
        for other in _mentioned(str(variable.get("value", ""))):
            if other not in seen:
                yield f"{name}: {variable['name']} uses $({other}), which is not set before it"
        seen.add(variable["name"])


def _mentioned(text: str) -> Iterator[str]:
    for part in text.split("$(")[1:]:
        yield part.partition(")")[0]


def _references(each: Object, there: set[tuple[str, str]]) -> Iterator[str]:
    def needs(kind: str, name: str | None) -> Iterator[str]:
        if name is not None and (kind, name) not in there:
            yield f"names {kind} {name}, which is not there"

    spec = each.get("spec", {})
    for template in templates(each):
        pod = template["spec"]
        yield from needs("ServiceAccount", pod.get("serviceAccountName"))
        yield from needs("PriorityClass", pod.get("priorityClassName"))
        for volume in pod["volumes"]:
            yield from needs("ConfigMap", volume.get("configMap", {}).get("name"))
    if target := spec.get("scaleTargetRef"):
        yield from needs(target["kind"], target["name"])
    if reference := each.get("roleRef"):
        yield from needs(reference["kind"], reference["name"])
        for subject in each["subjects"]:
            yield from needs(subject["kind"], subject["name"])
    for rule in spec.get("rules", []):
        for path in rule.get("http", {}).get("paths", []):
            yield from needs("Service", path["backend"]["service"]["name"])
        for backend in rule.get("backendRefs", []) if "matches" in rule else []:  # others are of people's own servers
            yield from needs("Service", backend["name"])
    yield from needs("Service", spec.get("serviceName"))


def _selectors(objects: Sequence[Object]) -> Iterator[str]:
    """Services, budgets, policies and monitors select pods that there are; ports of Services are ports of them."""
    pods = [template for each in objects for template in templates(each)]
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            selector = spec["selector"]
        elif each["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            selector = spec["selector"]["matchLabels"]
        elif each["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        else:
            continue
        selected = [pod for pod in pods if selector.items() <= pod["metadata"]["labels"].items()]
        where = f"{each['kind']} {each['metadata']['name']}"
        if not selected and selector["app.kubernetes.io/component"] != "group":  # those are made job by job
            yield f"{where} selects no pods"
        if each["kind"] == "PodDisruptionBudget" and len(selected) != 1:
            yield f"{where} is for {len(selected)} workloads"
        names = {port["name"] for pod in selected for one in pod["spec"]["containers"] for port in one.get("ports", [])}
        wanted = [port["targetPort"] for port in spec.get("ports", []) if each["kind"] == "Service"]
        wanted += [endpoint["port"] for endpoint in spec.get("podMetricsEndpoints", [])]
        for port in wanted:
            if port not in names:
                yield f"{where} leads to port {port}, which no pod has"
