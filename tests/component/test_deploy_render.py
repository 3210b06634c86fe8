"""Rendered objects are valid, fit together, stay as they were reviewed, and say no secret."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_checks import GOLDEN, MATRIX, PRODUCTION, TRIAL, Unknown, complaints, misshapen, of_kind, templates

from springtide.config import load_config
from springtide.deploy import render
from springtide.deploy.installation import Installation
from springtide.deploy.values import installation
from springtide.deploy.yaml_text import to_yaml
from springtide.domain.errors import ConfigError
from springtide.fleet import labels

ROOT = Path(__file__).parents[2]
VERSIONS = ("1.33", "1.37")  # the oldest with image volumes, and the newest whose schemas are there
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FROM_CLUSTER = {  # what Secrets and the pod's own fields hold
    "SPRINGTIDE_BROKER__URL": "redis://:hush@valkey:6379/0",
    "SPRINGTIDE_LEDGER__URL": "postgresql://springtide:hush@db/springtide",
    "SPRINGTIDE_BLOBS__ACCESS_KEY_ID": "key",
    "SPRINGTIDE_BLOBS__SECRET_ACCESS_KEY": "hush",
    "SPRINGTIDE_KUBERNETES__NAMESPACE": "springtide",
}


@pytest.fixture(scope="module", params=MATRIX)
def made(request: pytest.FixtureRequest) -> Installation:
    path, sets = MATRIX[request.param]
    return installation(path, sets)


def test_every_object_has_the_shape_that_its_kind_has(made: Installation) -> None:
    known = 0
    for each in render.objects(made):
        for version in VERSIONS:
            try:
                assert misshapen(each, version) == [], each["metadata"]["name"]
                known += 1
            except Unknown:
                assert each["kind"] in ("ScaledObject", "HTTPRoute", "VirtualService", "PodMonitor", "TrainingRuntime")
    for template in (one for each in render.objects(made) for one in templates(each)):
        metadata = {"name": "x", **template["metadata"]}
        assert misshapen({"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata}, "1.37") == []
    assert known > 20


def test_a_wrong_shape_is_seen() -> None:
    """The tests above can fail: a field that is none, a wrong type, and a kind nobody knows."""
    [each, *_] = of_kind(render.objects(installation(TRIAL)), "Deployment").values()
    assert misshapen({**each, "spec": {**each["spec"], "replica": 1}}, "1.37")
    assert misshapen({**each, "spec": {**each["spec"], "revisionHistoryLimit": "5"}}, "1.37")
    assert complaints([{**each, "spec": {**each["spec"], "selector": {"matchLabels": {"a": "b"}}}}])
    with pytest.raises(Unknown):
        misshapen({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject"}, "1.37")


def test_objects_fit_together(made: Installation) -> None:
    assert complaints(render.objects(made)) == []


def test_yaml_says_what_the_objects_are(made: Installation) -> None:
    objects = render.objects(made)
    text = render.as_text(objects)
    assert list(yaml.load_all(text, LOADER)) == objects
    assert render.as_text(render.objects(made)) == text


def test_what_the_pods_read_is_a_configuration(made: Installation, tmp_path: Path, monkeypatch: Any) -> None:
    """With the variables of the containers on top, as the kubelet sets them, every role starts from it."""
    objects = render.objects(made)
    [given] = of_kind(objects, "ConfigMap")[made.named("config")]["data"].values()
    file = tmp_path / "springtide.toml"
    file.write_text(given)
    for name in [key for key in os.environ if key.startswith("SPRINGTIDE_")]:
        monkeypatch.delenv(name)
    for each in of_kind(objects, "Deployment").values():
        [container] = each["spec"]["template"]["spec"]["containers"]
        with monkeypatch.context() as variables:
            for one in container["env"]:
                if one["name"].startswith("SPRINGTIDE_"):
                    variables.setenv(one["name"], one.get("value") or FROM_CLUSTER[one["name"]])
            read = load_config(file)
        assert not read.broker.url.startswith("memory://")
        assert read.blobs.url.startswith("s3://")
        assert read.server.weights_dir == Path("/weights")
        role = container["name"]
        assert read.ledger.url.startswith("sqlite" if role == "worker" else "postgresql")
        if role == "gateway":
            assert not read.server.is_on_loopback
        assert all(model.warm_up == "always" for model in read.models.values())
        assert list(read.models) == list(made.config.models)


def test_custom_objects_have_the_shape_of_their_definitions(definitions: Callable[..., Any]) -> None:
    files = ("keda.sh_scaledobjects", "gateway.networking.k8s.io_httproutes", "monitoring.coreos.com_podmonitors")
    problems = definitions(*files, "trainer.kubeflow.org_trainingruntimes", "istio")
    kinds = {"ScaledObject", "HTTPRoute", "PodMonitor", "TrainingRuntime", "VirtualService"}
    seen: set[str] = set()
    for name in ("production", "polled", "route", "versions", "trainjobs"):
        for each in render.objects(installation(*MATRIX[name])):
            if each["kind"] in kinds:
                assert problems(each) == []
                seen.add(each["kind"])
    assert seen == kinds


def test_the_reviewed_rendering_is_what_comes_out() -> None:
    """Look at the difference by eye; SPRINGTIDE_GOLDEN=write takes it over."""
    files = {name: render.as_text(objects) for name, objects in render.files(installation(PRODUCTION)).items()}
    if os.environ.get("SPRINGTIDE_GOLDEN") == "write":
        for old in GOLDEN.glob("*.yaml"):
            old.unlink()
        for name, text in files.items():
            (GOLDEN / name).write_text(text)
    assert {path.name: path.read_text() for path in GOLDEN.glob("*.yaml")} == files


def test_a_worker_leaves_only_after_its_longest_job() -> None:
    workers = of_kind(render.objects(installation(PRODUCTION)), "Deployment")
    pods = {name: each["spec"]["template"]["spec"] for name, each in workers.items()}
    assert pods["springtide-worker-matting"]["terminationGracePeriodSeconds"] > 3600
    assert pods["springtide-worker-finishing"]["terminationGracePeriodSeconds"] > 7200  # the longest of its models
    [container] = pods["springtide-worker-matting"]["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] > 300 * 6  # every attempt to load
    assert container["livenessProbe"]["terminationGracePeriodSeconds"] < 60


def test_gpus_are_asked_for_by_the_names_given() -> None:
    workers = of_kind(render.objects(installation(PRODUCTION)), "Deployment")

    def asked(name: str) -> dict[str, str]:
        [container] = workers[f"springtide-worker-{name}"]["spec"]["template"]["spec"]["containers"]
        return {key: value for key, value in container["resources"]["limits"].items() if "/" in key}

    assert asked("matting") == {"nvidia.com/gpu": "1"}
    assert asked("speech") == {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "8000", "nvidia.com/gpucores": "50"}
    assert asked("finishing") == {}
    mig = of_kind(render.objects(installation(*MATRIX["mig"])), "Deployment")
    [container] = mig["springtide-worker-matting"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["nvidia.com/mig-3g.20gb"] == "2"


def test_a_worker_restarts_for_what_it_reads_and_for_nothing_else() -> None:
    def digests(*sets: str) -> dict[str, str]:
        workers = of_kind(render.objects(installation(PRODUCTION, sets)), "Deployment")
        return {
            name: each["spec"]["template"]["metadata"]["annotations"]["springtide.dev/config"]
            for name, each in workers.items()
        }

    before = digests()
    changed = digests("models.speech.slots=4")
    assert {name for name in before if before[name] != changed[name]} == {
        "springtide-gateway",
        "springtide-controller",
        "springtide-worker-speech",
    }
    tenants = digests("tenants.acme={weight=2.0}")
    assert {name for name in before if before[name] != tenants[name]} == {"springtide-gateway", "springtide-controller"}
    assert digests("kubernetes.keda.polling_s=5") == before


def test_a_version_has_a_deployment_of_its_own_beside_its_model() -> None:
    workers = of_kind(render.objects(installation(*MATRIX["versions"])), "Deployment")
    two, first = workers["springtide-worker-speech--2"], workers["springtide-worker-speech"]
    assert {**labels.worker_selector("springtide", "speech", "2")} == two["spec"]["selector"]["matchLabels"]
    assert {**labels.worker_selector("springtide", "speech", "stable")} == first["spec"]["selector"]["matchLabels"]
    [container] = two["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["worker", "--model", "speech@2"]
    assert container["image"].endswith(":0.2.0")
    assert container["resources"]["limits"]["nvidia.com/gpumem"] == "9000"
    assert container["resources"]["limits"]["nvidia.com/gpucores"] == "50"  # as its model has it
    assert two["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 9000
    before = of_kind(render.objects(installation(PRODUCTION)), "Deployment")["springtide-worker-speech"]
    assert first == before  # a canary restarts nothing of the version beside it
    with pytest.raises(ConfigError, match="speech@2"):
        installation(PRODUCTION, (*MATRIX["versions"][1], "kubernetes.scaling=hpa"))


def test_weights_of_versions_are_rendered_as_routes() -> None:
    objects = render.objects(installation(*MATRIX["versions"]))
    route = of_kind(objects, "HTTPRoute")["springtide-route-matting"]["spec"]
    assert route["rules"][0]["backendRefs"] == [
        {"name": "m-1", "port": 81, "weight": 9000},
        {"name": "m-2", "port": 81, "weight": 1000},
    ]
    service = of_kind(objects, "VirtualService")["springtide-route-speech"]["spec"]
    assert [(one["destination"]["host"], one["weight"]) for one in service["http"][0]["route"]] == [
        ("speech-1", 6660),
        ("speech-2", 3340),
    ]


def test_who_starts_groups_of_processes_may_do_so_and_computes_nothing() -> None:
    objects = render.objects(installation(*MATRIX["distributed"]))
    pod = of_kind(objects, "Deployment")["springtide-worker-film"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "springtide-launcher" and pod["automountServiceAccountToken"]
    assert "initContainers" not in pod
    assert "nvidia.com/gpu" not in pod["containers"][0]["resources"]["limits"]
    rules = of_kind(objects, "Role")["springtide-launcher"]["rules"]
    assert {resource for rule in rules for resource in rule["resources"]} == {"pytorchjobs", "pods", "events"}
    assert not {"deployments", "deployments/scale", "secrets"} & {each for rule in rules for each in rule["resources"]}


def test_the_controller_may_scale_and_nothing_more() -> None:
    objects = render.objects(installation(PRODUCTION))
    [role] = of_kind(objects, "Role").values()
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert ("apps", "deployments/scale", "patch") in granted
    assert not {verb for _, _, verb in granted} & {"*", "delete", "deletecollection", "escalate", "bind"}
    writing = {(resource, verb) for _, resource, verb in granted if verb not in ("get", "list", "watch")}
    assert ("deployments", "patch") not in writing and ("secrets", "get") not in {(r, v) for _, r, v in granted}
    assert {resource for resource, _ in writing} == {"deployments/scale", "pods", "pods/eviction", "events", "leases"}
    with_token = {
        name
        for name, each in of_kind(objects, "Deployment").items()
        if each["spec"]["template"]["spec"]["automountServiceAccountToken"]
    }
    assert with_token == {"springtide-controller"}


def test_autoscalers_and_the_adapter_agree_on_metrics() -> None:
    objects = render.objects(installation(*MATRIX["hpa"]))
    [rules] = [
        yaml.load(each["data"]["config.yaml"], LOADER) for each in objects if "config.yaml" in each.get("data", {})
    ]
    offered = {rule["name"]["as"] for kind in ("externalRules", "rules") for rule in rules[kind]}
    scalers = of_kind(objects, "HorizontalPodAutoscaler")
    asked = {
        metric[kind]["metric"]["name"]
        for each in scalers.values()
        for metric in each["spec"]["metrics"]
        for kind in ("external", "pods")
        if kind in metric
    }
    assert asked == offered
    metrics = scalers["springtide-worker-matting"]["spec"]["metrics"]
    assert metrics[0]["external"]["target"] == {"type": "AverageValue", "averageValue": "5"}
    assert [metric["containerResource"]["target"]["averageUtilization"] for metric in metrics[1:3]] == [70, 80]
    assert metrics[3]["pods"]["target"]["averageValue"] == "70"
    assert len(scalers["springtide-worker-finishing"]["spec"]["metrics"]) == 4  # two queues, no GPU


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (("blobs.url=file://",), "blobs.url"),
        (("blobs.secret_access_key=hush",), "blobs.secret_access_key"),
        (("ledger.url=postgresql://me:hush@db/x",), "ledger.url"),
        (("kubernetes.models.nobody={memory='1Gi'}",), "nobody"),
        (("kubernetes.images.worker=springtide/worker",), "kubernetes.images.worker"),
        (("kubernetes.images.worker=springtide/worker:latest",), "kubernetes.images.worker"),
        (("kubernetes.worker.memory=lots",), "kubernetes.worker.memory"),
        (("kubernetes.scalling=keda",), "kubernetes.scalling"),
        (("kubernetes.keda.fallback_replicas=7",), "fallback_replicas"),
        (("kubernetes.weights.image=a/b:1",), "image and claim"),
        (("models.speech={engine='synthetic', execution='distributed', group={runs_as='processes'}}",), "runs_as"),
        (("kubernetes.routes.a={services={1='x'}, weights={1=90}, host='h'}",), "100 together"),
        (("kubernetes.routes.a={services={1='x'}, weights={1=90, 2=10}, host='h'}",), "Service of version 2"),
        (("kubernetes.routes.a={services={1='x'}, weights={1=100}}",), "either gateway"),
        (("kubernetes.worker.cpu='8'",), "worker.cpu: springtide-worker-matting would ask for 8 and be limited to 4"),
        (("kubernetes.gateway.cpu=2500m",), "kubernetes.gateway.cpu"),
        (("kubernetes.worker.variables={SPRINGTIDE_CONFIG='x'}",), "SPRINGTIDE_CONFIG is set"),
        (
            ("models.speech={engine='synthetic', execution='distributed'}", "kubernetes.models.speech={cpu='9'}"),
            "springtide-worker-speech would ask for 9",
        ),
        (("models.speech",), "key=value"),
        (("server.port.x=1", "server.port=1", "server.port.y=1"), "port"),
    ],
)
def test_what_cannot_run_is_refused_with_its_key_and_without_secrets(sets: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        installation(PRODUCTION, sets)
    assert "hush" not in caught.value.message


def test_variables_of_this_machine_do_not_reach_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    before = render.as_text(render.objects(installation(PRODUCTION)))
    monkeypatch.setenv("SPRINGTIDE_BROKER__URL", "redis://:hush@here")
    monkeypatch.setenv("SPRINGTIDE_KUBERNETES__NAME", "other")
    assert render.as_text(render.objects(installation(PRODUCTION))) == before


def test_the_command_writes_files_and_takes_away_what_is_not_wished_any_more(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "springtide", "deploy", "render", "-f", str(PRODUCTION), "-o", str(tmp_path / "m")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert (tmp_path / "m" / "50-scaling.yaml").exists()
    (tmp_path / "m" / "notes.yaml").write_text("mine")
    told = subprocess.run(
        [*command, "--set", "kubernetes.scaling=springtide"], check=True, capture_output=True, timeout=300, text=True
    )
    assert not (tmp_path / "m" / "50-scaling.yaml").exists()
    assert (tmp_path / "m" / "notes.yaml").exists()
    assert "kubectl apply --server-side" in told.stdout


@pytest.mark.parametrize(
    "value",
    [
        "on",
        "yes",
        "1",
        "1e3",
        "0x1f",
        "null",
        "~",
        "",
        " a",
        "a: b",
        "a #b",
        "a:",
        "- a",
        "é",
        "a\nb\n",
        "a\n b\n\n",
        "\ta\n",
        "=",
        "%",
    ],
)
def test_any_text_survives_yaml(value: str) -> None:
    data = {"key": value, value or "x": [value, {"a": value}], "map": {}, "list": []}
    assert yaml.load(to_yaml(copy.deepcopy(data)), LOADER) == data


def test_every_comment_is_of_a_key_that_is_rendered() -> None:
    """A comment whose path no object has is a comment that nobody reads."""
    from springtide.deploy import comments

    text = "".join(
        render.as_text(render.objects(installation(*MATRIX[name])))
        for name in ("production", "hpa", "route", "trial", "trainjobs")
    )
    flat = re.sub(r"\n *# ?", " ", text)
    for why in comments._WHY.values():
        assert why in flat


def test_labels_are_those_that_the_fleet_looks_for() -> None:
    workers = of_kind(render.objects(installation(PRODUCTION)), "Deployment")
    found = [
        each
        for each in workers.values()
        if labels.worker_selector("springtide").items() <= each["metadata"]["labels"].items()
    ]
    assert {each["metadata"]["labels"][labels.MODEL] for each in found} == {"matting", "speech", "finishing"}
