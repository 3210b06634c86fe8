"""From the engine named in springtide.toml to its class.

An engine is found by its entry point in the group `springtide.engines` (installed packages announce themselves), or by
a dotted path `package.module:Class`, also of a module beside the configuration, in the current folder. Anything that is
not an engine is refused with a ConfigError that says why; nothing is loaded here, only imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from springtide.domain.errors import ConfigError
from springtide.engines.protocol import Engine

GROUP = "springtide.engines"

AnyEngine = Engine[Any, Any]


def load_engine(reference: str) -> type[AnyEngine]:
    """The engine class that `reference` names. Raises ConfigError."""
    module_name, colon, attribute = _target(reference).partition(":")
    if not (module_name and colon and attribute):
        raise ConfigError(
            f"engine {reference!r} is neither an installed engine ({', '.join(engine_names()) or 'none'}) "
            "nor a dotted path package.module:Class"
        )
    _look_beside_the_configuration(module_name)
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # an author's module may raise anything while it is imported
        raise ConfigError(f"engine {reference!r} cannot be imported: {type(error).__name__}: {error}") from error
    return _checked(reference, found)


def check_license(engine: AnyEngine, *, accepted: bool) -> None:
    """Raises ConfigError for an engine whose weights may not be used commercially, unless that was `accepted`."""
    if engine.commercial_use is False and not accepted:
        raise ConfigError(
            f"the licence of its weights ({engine.license}) allows no commercial use: set accept_non_commercial = true "
            "for this model where yours is none, or choose another engine"
        )


def engine_names() -> list[str]:
    """Names of the installed engines, sorted."""
    return sorted(set(entry_points(group=GROUP).names))


def _target(reference: str) -> str:
    for entry in entry_points(group=GROUP, name=reference):
        return entry.value
    return reference


def _look_beside_the_configuration(module_name: str) -> None:
    # A console script does not have the current folder on its path; `python -m` has. Appended, so it shadows nothing.
    folder = str(Path.cwd())
    package = module_name.partition(".")[0]
    if folder not in sys.path and package not in sys.modules and importlib.util.find_spec(package) is None:
        sys.path.append(folder)


def _checked(reference: str, found: Any) -> type[AnyEngine]:
    if not (inspect.isclass(found) and issubclass(found, Engine)):
        raise ConfigError(f"engine {reference!r} is not a subclass of springtide.engines.protocol.Engine")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise ConfigError(f"engine {reference!r} does not define {', '.join(missing)}")
    if not (hasattr(found, "Input") and hasattr(found, "Output")):
        raise ConfigError(f"engine {reference!r} must say its models: class {found.__name__}(Engine[Input, Output])")
    return found
