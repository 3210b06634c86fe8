"""The configured models as a gateway serves them: each with its engine, made to see that its settings are right, and
never loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.config import Config
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName, parted

if TYPE_CHECKING:
    from springtide.engines.catalog import AnyEngine
    from springtide.gateway.served import ServedModel


def served_models(config: Config) -> dict[ModelName, ServedModel]:
    """Every configured model with its engine, never loaded, and under `name@version` each version beside one. Raises
    ConfigError that tells every wrong engine or setting."""
    import msgspec

    from springtide.engines.binding import describe
    from springtide.engines.catalog import check_license
    from springtide.engines.trial import kept_trials, trial_of
    from springtide.gateway.served import ServedModel

    trials = kept_trials(config.server.data_dir)
    served: dict[ModelName, ServedModel] = {}
    problems: list[str] = []
    for name, model in config.units.items():
        of, version = parted(name)
        version = version or model.version
        try:
            engine = _engine(model.engine, model.settings, config.weights_folder)
            description = describe(of, engine, engine_reference=model.engine, max_duration_s=model.max_duration_s)
            check_license(engine, accepted=model.accept_non_commercial)
            if model.is_distributed:
                _check_group_engine(engine, model.engine)
        except ConfigError as error:
            problems.append(f"  models.{name}: {error.message}")
            continue
        if name != of and of in served and served[of].model.version == version:
            problems.append(f"  models.{of}.versions.{version}: the model itself is version {version}: name it anew")
        pool = next((ModelName(pool) for pool, shared in config.workers.items() if name in shared.models), None)
        given = config.workers[pool] if pool else model
        served[ModelName(name)] = ServedModel(
            model=msgspec.structs.replace(description, version=version or description.version),
            engine=engine,
            unit=None if name == of else ModelName(name),
            timeout_s=model.timeout_s,
            max_attempts=model.max_attempts,
            max_replicas=given.max_replicas,
            pool=pool,
            min_replicas=model.min_replicas,
            max_running=model.max_running,
            max_queued=model.max_queued,
            takes=given.takes(),
            trial=trial_of(trials, name, engine=model.engine, version=engine.version, settings=model.settings),
        )
    if problems:
        raise ConfigError(f"{len(problems)} of {len(config.units)} model(s) cannot be served:\n" + "\n".join(problems))
    return served


def served_versions(config: Config) -> dict[str, Any]:
    """The same as the gateway takes them: `models` as their own tables configure them, and `versions` beside them."""
    served = served_models(config)
    return {
        "models": {name: one for name, one in served.items() if one.unit is None},
        "versions": {name: one for name, one in served.items() if one.unit is not None},
    }


def _check_group_engine(engine: AnyEngine, reference: str) -> None:
    from springtide.engines.groups import GroupEngine

    if not isinstance(engine, GroupEngine):
        raise ConfigError(f'execution = "distributed" needs a GroupEngine, which {reference!r} is not')


def _engine(reference: str, settings: Mapping[str, Any], weights_folder: Path) -> AnyEngine:
    """An engine, never loaded. Raises ConfigError for one that is not there, and for settings that it refuses."""
    from springtide.engines.catalog import load_engine

    engine = load_engine(reference)
    try:
        return engine(settings, weights_folder)
    except ConfigError:
        raise
    except Exception as error:  # an author's constructor may raise anything
        raise ConfigError(f"engine {reference!r} refuses its settings: {type(error).__name__}: {error}") from error


def check_engine(reference: str, settings: Mapping[str, Any] | None) -> None:
    if settings is None:
        from springtide.engines.catalog import load_engine

        load_engine(reference)
    else:
        _engine(reference, settings, Path())  # it keeps the folder for later, and looks at nothing yet
