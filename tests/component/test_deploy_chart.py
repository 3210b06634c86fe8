"""The Helm chart gives the same objects as `springtide deploy render`, for every set of values, and lints strictly."""

from __future__ import annotations

import importlib.util
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_checks import MATRIX, PRODUCTION, ROOT, Unknown, complaints, misshapen
from helm_binary import helm

from springtide.config.kubernetes import KubernetesConfig
from springtide.deploy import render
from springtide.deploy.values import chart_values, installation
from springtide.deploy.yaml_text import to_yaml

CHART = ROOT / "deploy" / "chart"
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Objects = dict[tuple[str, str], dict[str, Any]]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm(), *arguments], capture_output=True, text=True, timeout=300)


def templated(values: Path, *arguments: str, namespace: str = "springtide") -> list[dict[str, Any]]:
    done = run("template", "springtide", CHART, "--namespace", namespace, "--values", values, *arguments)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.load_all(done.stdout, LOADER) if each]


def comparable(objects: list[dict[str, Any]]) -> Objects:
    """By kind and name. Texts inside are compared for what they say, digests of them for being there."""
    found: Objects = {}
    for each in objects:
        data = each.get("data", {})
        if "springtide.toml" in data:
            read = tomllib.loads(data["springtide.toml"])
            read["kubernetes"] = KubernetesConfig(**read.get("kubernetes", {}))  # one says the defaults, too
            data["springtide.toml"] = read
        if "config.yaml" in data:
            data["config.yaml"] = yaml.load(data["config.yaml"], LOADER)
        notes = each.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
        if "springtide.dev/config" in notes:
            assert len(notes["springtide.dev/config"]) == 64
            notes["springtide.dev/config"] = "a digest"
        found[each["kind"], each["metadata"]["name"]] = each
    assert len(found) == len(objects)
    return found


@pytest.mark.parametrize("name", MATRIX)
def test_the_chart_gives_what_the_command_gives(name: str, tmp_path: Path) -> None:
    to = installation(*MATRIX[name])
    values = tmp_path / "values.yaml"
    values.write_text(to_yaml(chart_values(to)))
    ours = comparable(render.objects(to))
    theirs = comparable(templated(values, namespace=to.namespace))
    assert theirs.keys() == ours.keys()
    for key, each in ours.items():
        assert theirs[key] == each, key
    assert complaints(list(theirs.values())) == []


@pytest.mark.parametrize("name", ["production", "trial"])
def test_the_chart_lints_strictly(name: str, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(to_yaml(chart_values(installation(*MATRIX[name]))))
    done = run("lint", "--strict", CHART, "--values", values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout and "[ERROR]" not in done.stdout


def test_the_chart_lints_strictly_without_values() -> None:
    done = run("lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout + done.stderr


def test_settings_on_the_command_line_mean_the_same_to_both(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(to_yaml(chart_values(installation(PRODUCTION))))
    sets = ("kubernetes.scaling=hpa", "kubernetes.gateway.replicas=1", "models.speech.max_replicas=0")
    sets += ("kubernetes.worker.gone_after_s=0", "kubernetes.weights.cache=pod", "models.speech.min_replicas=0")
    ours = comparable(render.objects(installation(PRODUCTION, sets)))
    theirs = comparable(templated(values, *(f"--set={one}" for one in sets)))
    assert theirs == ours


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    """Helm takes each number for a float; an engine's own settings may well not."""
    values = tmp_path / "values.yaml"
    values.write_text(
        "models: {a: {engine: synthetic, settings: {count: 3, share: 0.5, text: '= 2.0'}}}\nblobs: {url: s3://abc}"
    )
    [config] = [each for each in templated(values) if each["kind"] == "ConfigMap"]
    settings = tomllib.loads(config["data"]["springtide.toml"])["models"]["a"]["settings"]
    assert settings == {"count": 3, "share": 0.5, "text": "= 2.0"}
    assert isinstance(settings["count"], int)


def test_what_the_chart_gives_has_the_shape_of_its_kinds(tmp_path: Path) -> None:
    """The matrix above compares with what is validated; this sees what a dictionary hides, such as a key said twice."""
    values = tmp_path / "values.yaml"
    values.write_text(to_yaml(chart_values(installation(PRODUCTION))))
    done = run("template", "springtide", CHART, "--namespace", "springtide", "--values", values)
    for each in yaml.load_all(done.stdout, NoDuplicates):
        try:
            assert misshapen(each, "1.37") == []
        except Unknown:
            assert each["kind"] in ("ScaledObject", "PodMonitor")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{}", "name the models to serve"),
        ("models: {a: {engine: synthetic}}", "blobs.url"),
        ("models: {a: {engine: synthetic, max_replica: 3}}", "max_replica"),
        ("models: {a: {engine: synthetic}}\nkubernetes: {scaling: magic}", "scaling"),
        ("models: {a: {engine: synthetic}}\nkubernetes: {ingres: {enabled: true}}", "ingres"),
    ],
)
def test_wrong_values_are_refused_by_the_chart(values: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(values)
    done = run("template", "springtide", CHART, "--values", file)
    assert done.returncode != 0
    assert said in done.stderr


def test_what_is_made_of_the_code_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("chart_files", ROOT / "docs" / "chart_files.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, text in module.files().items():
        assert path.read_text() == text, f"{path.name}: run python docs/generate.py"


class NoDuplicates(yaml.SafeLoader):
    """A mapping that says a key twice is an error, as it is to the API server."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(keys) == len(set(keys)), f"said twice: {keys}"
    return {loader.construct_object(key): loader.construct_object(value, deep=True) for key, value in node.value}


NoDuplicates.add_constructor("tag:yaml.org,2002:map", _mapping)
