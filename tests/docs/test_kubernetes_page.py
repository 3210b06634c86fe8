"""What docs/kubernetes.md tells people to type exists: commands, settings, and objects that kubectl is asked for."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from test_images import parses

from springtide.config import Config, ModelConfig
from springtide.config.kubernetes import KubernetesConfig, ModelPodConfig
from springtide.deploy import render
from springtide.deploy.values import installation

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()


def typed() -> list[list[str]]:
    """Every command in a block or between backticks, in words."""
    blocks = [line.strip() for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    inline = re.findall(r"`((?:springtide|kubectl|helm) [^`]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
    return [shlex.split(line.partition(" > ")[0], comments=True) for line in (*blocks, *inline) if line]


def test_every_command_of_ours_is_one() -> None:
    ours = [words[1:] for words in typed() if words[0] == "springtide"]
    ours += [words[words.index("--") + 2 :] for words in typed() if "exec" in words]
    assert len(ours) > 8
    for words in ours:
        assert parses(words), words


def test_every_object_that_is_asked_for_is_rendered() -> None:
    objects = [*render.objects(installation(ROOT / "deploy" / "trial.toml"))]
    objects += render.objects(installation(ROOT / "deploy" / "production.toml"))
    there = {(each["kind"], each["metadata"]["name"]) for each in objects}
    kinds = {"deploy": "Deployment", "svc": "Service"}
    asked = set(re.findall(r"\b(deploy|svc)/(springtide[a-z-]*)\b(?!-MODEL)", PAGE))
    assert len(asked) > 3
    assert {(kinds[kind], name) for kind, name in asked} <= there


def test_every_setting_that_is_named_is_one() -> None:
    named = re.findall(
        r"\bkubernetes\.[a-z_.]+[a-z_]\b",
        PAGE.replace("pod-security.kubernetes.io", "").replace("app.kubernetes.io", ""),
    )
    assert named
    for path in named:
        kind: Any = Config
        for part in path.split("."):
            if kind is None or not issubclass(kind, BaseModel):
                break
            if part == "speech" or part == "matting":
                kind = ModelPodConfig
                continue
            assert part in kind.model_fields, path
            inner = kind.model_fields[part].annotation
            kind = inner if isinstance(inner, type) else None
    assert {"gone_after_s"} <= KubernetesConfig().worker.model_fields_set | set(ModelPodConfig.model_fields)
    assert {"load_timeout_s", "load_attempts", "accelerators", "timeout_s"} <= set(ModelConfig.model_fields)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
