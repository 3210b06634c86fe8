"""From springtide.toml to what is rendered: read without this machine's variables, changed by `--set`, made ready for
the pods' own file. The same data, as YAML, is what the Helm chart takes as its values.

Refuses what is secret: a ConfigMap is no place for passwords.
"""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from springtide.config import Config, ModelConfig, read_config
from springtide.deploy.installation import Installation, refused
from springtide.deploy.refusals import refusals
from springtide.domain.errors import ConfigError

_SECRETS = (
    ("blobs", "secret_access_key"),
    ("blobs", "session_token"),
)
_URLS = (("broker", "url"), ("ledger", "url"))


def installation(path: Path | None, sets: Sequence[str] = ()) -> Installation:
    """What a file (none: the defaults) says, after `sets` (key.path=value). Raises ConfigError."""
    data = values_of(path, sets)
    config = read_config(data, where=str(path or "the defaults"))
    made = Installation(config, file_of(data))
    made.check()
    if found := refusals(made):
        raise refused(found)
    return made


def values_of(path: Path | None, sets: Sequence[str] = ()) -> dict[str, Any]:
    """The file's data, with every model named and `sets` applied. Raises ConfigError."""
    data = _read(path)
    if not data.get("models"):
        defaults = Config.model_fields["models"].get_default(call_default_factory=True)
        data["models"] = {name: model.model_dump(exclude_unset=True) for name, model in defaults.items()}
    for one in sets:
        _set(data, one)
    _refuse_secrets(data)
    return data


def file_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """springtide.toml as the pods read it, with what is different there: a worker may take as long to leave as its
    longest job, and is ready only after a first run. The namespace they learn from the pod itself."""
    file = copy.deepcopy(dict(data))
    file.get("kubernetes", {}).pop("namespace", None)
    for model in file["models"].values():
        model.setdefault("grace_s", model.get("timeout_s", ModelConfig.model_fields["timeout_s"].default))
        for table in (model, *model.get("versions", {}).values()):
            if "timeout_s" in table:
                table.setdefault("grace_s", table["timeout_s"])
            if table.get("warm_up", "auto" if table is model else "always") == "auto":
                table["warm_up"] = "always"  # what `models check` found, on which "auto" rests, was of another machine
    return file


def chart_values(to: Installation) -> dict[str, Any]:
    """What the Helm chart takes: the same. The namespace is Helm's own (-n)."""
    return dict(to.file)


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _set(data: dict[str, Any], one: str) -> None:
    """`kubernetes.scaling=keda`; a key with dots in quotes; the value as TOML where it is, else as a string."""
    key, equals, text = one.partition("=")
    try:
        parsed = tomllib.loads(f"{key.strip()} = 0")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--set {one}: {key!r} is no key such as kubernetes.scaling") from error
    if not equals:
        raise ConfigError(f"--set {one}: say key=value")
    path: list[str] = []
    at: Any = parsed
    while isinstance(at, dict):
        [(part, at)] = at.items()
        path.append(part)
    table: Any = data
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {one}: {part} is a value, not a table")
    table[path[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return tomllib.loads(f"value = {json.dumps(text)}")["value"]


def _refuse_secrets(data: Mapping[str, Any]) -> None:
    there: list[str] = []
    for section, key in _SECRETS:
        if data.get(section, {}).get(key):
            there.append(f"{section}.{key}")
    for section, key in _URLS:
        if urlsplit(str(data.get(section, {}).get(key, ""))).password:
            there.append(f"{section}.{key} (its password)")
    if there:
        raise ConfigError(
            f"{', '.join(there)}: a secret would stand in a ConfigMap for all to read. Take it out of the file; "
            "[kubernetes.secrets] names the Secret that holds it"
        )
