"""From a lease to the object of a cluster: valid, of the right size, and every text as it was given."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.domain.errors import AttemptFailed, ConfigError
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.lease import Lease, Payload
from springtide.fleet.gang_objects import ORDER, as_yaml, for_variable, render
from springtide.fleet.gangs import GangPods, GangShape, Runs

ROOT = Path(__file__).parents[2]
POD: dict[str, Any] = {
    "spec": {
        "serviceAccountName": "springtide-worker",
        "terminationGracePeriodSeconds": 10,
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "20Gi"}}],
    },
    "before": [{"name": "weights", "image": "springtide/worker:1", "args": ["models", "stage", "film"]}],
    "container": {"image": "springtide/worker:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
    "env": [{"name": "SPRINGTIDE_BROKER__URL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "url"}}}],
    "resources": {"limits": {"nvidia.com/gpu": "2"}, "requests": {"nvidia.com/gpu": "2"}},
    "fetch_resources": {"limits": {"cpu": "1"}},
}
NASTY = [
    "{{ name }} {% if x %} {# c #} \"'\\ - a: b\n  c: |\n\t...",
    "\u2028\u2029\x85\ufeff\x7f😀",
    "$(HOME) $$(X)",
    "---\n!!python/x",
]


def lease(**inputs: Any) -> Lease:
    return Lease(
        id=JobId("job_" + "0123456789abcdef" * 2),
        model=ModelName("film"),
        tenant=TenantId("t"),
        worker=WorkerId("film-springtide-worker-film-7d4f8c9b5d-x2k4q-1-a1b2c3"),
        attempt=2,
        max_attempts=3,
        payload=msgspec.msgpack.encode(Payload(inputs=inputs)),
        timeout_s=100.0,
        enqueued_at_s=0.0,
    )


def made(one: Lease, *, runs_as: Runs = Runs.PYTORCHJOB, processes: int = 4, **more: Any) -> dict[str, Any]:
    pods = GangPods(**{"pod": POD, **more})
    return render(one, GangShape(processes=processes, gpus_each=2, start_timeout_s=50.0), pods, runs_as=runs_as)


def order_in(env: list[dict[str, Any]]) -> Lease:
    [text] = [each["value"] for each in env if each["name"] == ORDER]
    return msgspec.msgpack.decode(base64.b64decode(text), type=Lease)


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=150)
def test_any_text_passes_yaml_byte_for_byte(text: str) -> None:
    assert yaml.safe_load(f"a: {as_yaml({'b': [text], text: 1})}") == {"a": {"b": [text], text: 1}}
    assert as_yaml(text).isascii()


@pytest.mark.parametrize("runs_as", [Runs.PYTORCHJOB, Runs.TRAINJOB])
@pytest.mark.parametrize("text", NASTY)
def test_a_prompt_arrives_as_it_was_given(runs_as: Runs, text: str) -> None:
    one = lease(prompt=text)
    found = made(one, runs_as=runs_as)["spec"]
    if runs_as is Runs.TRAINJOB:
        envs = [found["trainer"]["env"]]
    else:
        specs = [replica["template"]["spec"] for replica in found["pytorchReplicaSpecs"].values()]
        envs = [spec["containers"][0]["env"] for spec in specs] + [spec["initContainers"][-1]["env"] for spec in specs]
    for env in envs:
        assert order_in(env) == one, "the rank would run something else"


@given(st.text(st.sampled_from("$(){}A b\n\"'")))
def test_kubernetes_leaves_a_variable_alone_where_dollars_are_doubled(text: str) -> None:
    def expanded(given: str) -> str:  # k8s.io/kubernetes third_party/forked/golang/expansion
        return re.sub(r"\$(\$|\(([^)]*)\))", lambda found: "$" if found[1] == "$" else "EXPANDED", given)

    assert expanded(for_variable(text)) == text


def test_a_pytorchjob_has_all_ranks_of_one_size_and_restarts_none_of_them() -> None:
    found = made(lease(), queue="gpu-queue", volcano_queue="films")
    spec = found["spec"]
    replicas = spec["pytorchReplicaSpecs"]
    assert (replicas["Master"]["replicas"], replicas["Worker"]["replicas"]) == (1, 3)
    assert {each["restartPolicy"] for each in replicas.values()} == {"Never"}
    assert replicas["Master"]["template"] == replicas["Worker"]["template"]
    assert spec["runPolicy"]["backoffLimit"] == 0
    assert spec["runPolicy"]["activeDeadlineSeconds"] > 150
    assert spec["runPolicy"]["schedulingPolicy"] == {"queue": "films", "minAvailable": 4}
    assert found["metadata"]["name"] == "job-0123456789abcdef0123456789abcdef-2"
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-queue"
    pod = replicas["Master"]["template"]["spec"]
    [main] = pod["containers"]
    assert (main["name"], main["args"], main["resources"]) == ("pytorch", ["rank", "run"], POD["resources"])
    assert [each["name"] for each in pod["initContainers"]] == ["weights", "fetch"]
    assert "elasticPolicy" not in spec
    alone = made(lease(), processes=1)["spec"]["pytorchReplicaSpecs"]
    assert list(alone) == ["Master"]


def test_what_the_cluster_says_of_its_kinds_holds(definitions: Callable[..., Any]) -> None:
    problems = definitions("kubeflow.org_pytorchjobs", "trainer.kubeflow.org_trainjobs")
    for runs_as, is_ours in ((Runs.PYTORCHJOB, False), (Runs.TRAINJOB, False), (Runs.TRAINJOB, True)):
        one = lease(prompt=NASTY[0])
        found = made(one, runs_as=runs_as, queue="q", volcano_queue="v", runtime_is_ours=is_ours)
        assert problems(found) == []


OWN = """
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: NAME}
spec:
  pytorchReplicaSpecs: {Master: {template: {spec: {containers: [{name: pytorch, args: [ARG]}]}}}}
"""


def test_an_operators_own_template_sees_the_inputs(tmp_path: Path) -> None:
    file = tmp_path / "own.j2"
    file.write_text(
        OWN.replace("NAME", "{{ name | tojson }}").replace("ARG", "{{ inputs.prompt | variable | tojson }}")
    )
    for text in NASTY:
        found = made(lease(prompt=text), template=str(file), pod={})
        [main] = found["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"]
        assert main["args"] == [text.replace("$", "$$")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OWN.replace("NAME", "{{ nmae | yaml }}"), "'nmae' is undefined"),
        (OWN.replace("NAME", "another"), "must call its object job-"),
        ("{% if %}", "cannot be used"),
        ("a: [", "gives no YAML"),
        ("kind: Pod", "gives no PyTorchJob"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "own.j2"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)):
        made(lease(), template=str(file))


def test_inputs_that_fit_into_no_variable_are_refused_with_what_to_do() -> None:
    with pytest.raises(AttemptFailed, match="give what is large as a file"):
        made(lease(prompt="x" * 100_000))
