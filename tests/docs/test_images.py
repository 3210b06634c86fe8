"""Dockerfiles and compose.yaml keep the rules that hadolint has, and say what exists: no engine builds them here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from springtide.cli.main import app
from springtide.config import Config, read_config
from springtide.config.kubernetes import ImagesConfig, TrialConfig
from springtide.config.variables import from_variables
from springtide.deploy import pods, render
from springtide.deploy.installation import METRICS_PORT, PORT
from springtide.deploy.values import installation

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "deploy" / "images").glob("*.Dockerfile"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
Instruction = tuple[str, str]


def instructions(path: Path) -> list[Instruction]:
    """Word and rest of each, comments left out and lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def stages(path: Path) -> list[tuple[str, list[Instruction]]]:
    """Name (or place) and instructions of each stage."""
    found: list[tuple[str, list[Instruction]]] = []
    for word, rest in instructions(path):
        if word == "FROM":
            found.append((rest.rpartition(" AS ")[2] if " AS " in rest else f"stage {len(found)}", []))
        found[-1][1].append((word, rest))
    return found


def runtime(path: Path) -> list[list[Instruction]]:
    """The stages that are run: what builds is not."""
    return [inside for name, inside in stages(path) if not name.startswith("build")]


def parses(arguments: list[str]) -> bool:
    """Whether the command line takes them."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("springtide", list(arguments))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return True


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_bases_and_tools_are_pinned(path: Path) -> None:
    names = {name for name, _ in stages(path)}
    for word, rest in instructions(path):
        if word == "FROM":
            image = rest.split()[0]
            assert image in names or re.search(r":[0-9]+\.[0-9]+\.[0-9]+[\w.-]*$", image), f"{image} is not pinned"
        for package in re.findall(r"pip install .*?--no-cache(?:-dir)? (?:--no-deps )?(\S+)", rest):
            assert re.search(r"==\d", package), f"{package} is not pinned"
        assert "pip install" not in rest or "--no-cache" in rest
        assert "uv sync" not in rest or "--frozen" in rest


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_nothing_is_fetched_or_left_that_should_not_be(path: Path) -> None:
    for word, rest in instructions(path):
        assert word != "ADD", "COPY says what comes in"
        assert not re.search(r"\b(curl|wget|sudo|apt)\b ", rest)
        if "apt-get install" in rest:
            assert "apt-get update" in rest and "--no-install-recommends" in rest and "--yes" in rest
            assert "rm -rf /var/lib/apt/lists/*" in rest
        if word == "COPY" and "--from" not in rest:
            assert rest.split()[0] not in (".", "./"), "an image is built of what is named"
        assert not re.search(r"(PASSWORD|SECRET|TOKEN|KEY)=", rest)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_runs_is_nobody_special_is_watched_and_holds_no_builder(path: Path) -> None:
    assert runtime(path)
    for stage in runtime(path):
        said = dict(stage)  # the last of each
        assert said["USER"] == f"{pods.USER}:{pods.USER}"
        assert said["WORKDIR"].startswith("/")
        assert json.loads(said["ENTRYPOINT"]) == ["tini", "--", "springtide"]  # process 1, for signals and orphans
        assert parses(json.loads(said["CMD"]) + (["--model", "x"] if "worker" in said["CMD"] else []))
        assert "/healthz" in said["HEALTHCHECK"]
        port = PORT if "gateway" in path.name else METRICS_PORT
        assert said["EXPOSE"] == str(port) and f":{port}/" in said["HEALTHCHECK"]
        assert not any("uv" in rest.split() or "npm" in rest for word, rest in stage if word == "RUN")
        assert all("--from=build" in rest for word, rest in stage if word == "COPY")


def test_hadolint_has_nothing_to_say() -> None:
    """The linter itself, where it has a wheel; the rules above hold everywhere."""
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("there is no wheel of hadolint for this machine")
    done = subprocess.run([hadolint, "--no-color", *DOCKERFILES], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    bad = subprocess.run([hadolint, "-"], input="FROM python\nRUN cd /x\n", capture_output=True, text=True, timeout=300)
    assert bad.returncode != 0 and "DL3006" in bad.stdout, "it would say so"


def test_every_image_has_one_release_of_springtide_python_and_uv() -> None:
    text = "".join(path.read_text() for path in DOCKERFILES)
    assert len(set(re.findall(r"uv==([\d.]+)", text))) == 1
    assert len(set(re.findall(r"python:([\w.-]+)", text))) == 1
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((ROOT / "deploy" / "chart" / "Chart.yaml").read_text())
    tags = {ImagesConfig().gateway.rpartition(":")[2], ImagesConfig().worker.rpartition(":")[2], chart["appVersion"]}
    assert tags == {version}
    assert set(re.findall(r"springtide/\w+:([\d.]+\d)", text)) == {version}


def test_what_is_copied_into_an_image_is_let_into_its_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    for path in DOCKERFILES:
        for word, rest in instructions(path):
            if word == "COPY" and "--from" not in rest:
                for source in rest.split()[:-1]:
                    assert source in let_in and (ROOT / source).exists()


def test_compose_starts_commands_that_exist_with_settings_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [key for key in os.environ if key.startswith("SPRINGTIDE_")]:
        monkeypatch.delenv(name)
    ours = {name: each for name, each in COMPOSE["services"].items() if each["image"].startswith("springtide/")}
    assert set(ours) == {"gateway", "controller", "weights"}
    for each in ours.values():
        assert parses(each["command"])
        assert each["read_only"] and each["cap_drop"] == ["ALL"]
    for key, value in ours["gateway"]["environment"].items():
        monkeypatch.setenv(key, str(value).replace("${SPRINGTIDE_PASSWORD:?put it into .env}", "x"))
    read = read_config(from_variables(os.environ, Config), where="compose.yaml")
    assert read.broker.url.startswith("redis://") and read.ledger.url.startswith("postgresql://")
    assert read.blobs.url.startswith("s3://") and not read.blobs.presigned_uploads


def test_compose_opens_nothing_to_the_network_and_has_the_clusters_servers() -> None:
    services = COMPOSE["services"]
    assert all(port.startswith("127.0.0.1:") for each in services.values() for port in each.get("ports", []))
    trial = TrialConfig()
    wanted = {"valkey": trial.redis_image, "postgres": trial.postgres_image, "s3": trial.s3_image}
    assert {name: services[name]["image"] for name in wanted} == wanted
    volumes = {volume.partition(":")[0] for each in services.values() for volume in each.get("volumes", [])}
    assert volumes == set(COMPOSE["volumes"])
    builds = [each["build"] for each in services.values() if "build" in each]
    for build in builds:
        path = ROOT / build["dockerfile"]
        assert "target" not in build or build["target"] in {name for name, _ in stages(path)}


def test_containers_in_the_cluster_run_commands_that_exist() -> None:
    for each in render.objects(installation(ROOT / "deploy" / "production.toml")):
        pod = each.get("spec", {}).get("template", {}).get("spec", {}) if each["kind"] == "Deployment" else {}
        for container in (*pod.get("initContainers", []), *pod.get("containers", [])):
            assert parses(container["args"])


def test_a_command_that_does_not_exist_is_seen() -> None:
    with pytest.raises(Exception, match="No such option"):
        parses(["worker", "--modell", "x"])
    with pytest.raises(Exception, match="No such command"):
        parses(["models", "stagee"])


def test_the_gateways_image_needs_nothing_of_the_engines() -> None:
    """Its models' schemas come from their modules, which import what computes only where it computes."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["engines"]
    barred = {re.split(r"[^A-Za-z0-9-]", each)[0].replace("-", "_") for each in extras} - {"pip"}
    barred |= {"ctranslate2", "opencc", "c2pa"}
    program = f"""
import importlib.abc, sys
class Barred(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(barred)!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Barred())
from springtide.cli import build, served
import springtide.cli.gateway_main, springtide.controller.recorder, springtide.gateway.app, springtide.media.inspector
print(len(served.served_models(build.load())))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, cwd=ROOT / "docs"
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
