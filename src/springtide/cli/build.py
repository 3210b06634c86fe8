"""Settings in, parts out. Each seam's implementation is picked by its URL here and nowhere else.

Imports are inside the functions: a worker must not pay for the gateway's libraries, nor `springtide up` for any.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from springtide.config import Config
from springtide.domain.ids import ModelName

if TYPE_CHECKING:
    from springtide.blobs.files import FileBlobs
    from springtide.broker.protocol import Broker
    from springtide.gateway.services import ServedModel
    from springtide.ledger.sql import SqlLedger
    from springtide.policy.scaling import ScalingSettings
    from springtide.worker.service import WorkerSettings


def is_embedded(config: Config) -> bool:
    """Whether the broker lives in the gateway's process."""
    return config.broker.url.startswith("memory://")


def model_names(config: Config) -> list[ModelName]:
    return [ModelName(name) for name in config.models]


def client_broker(config: Config) -> Broker:
    """The broker as a process other than the gateway reaches it."""
    if is_embedded(config):
        from springtide.broker.remote import RemoteBroker

        return RemoteBroker(config.socket_path)
    from springtide.broker.redis import RedisBroker

    consumer = f"{socket.gethostname()}-{os.getpid()}"
    return RedisBroker(config.broker.url, model_names(config), consumer=consumer)


def ledger(config: Config) -> SqlLedger:
    from springtide.ledger.sql import SqlLedger

    return SqlLedger(config.ledger_url)


def blobs(config: Config) -> FileBlobs:
    from springtide.blobs.files import FileBlobs

    return FileBlobs(config.blobs_folder)


def served_models(config: Config) -> dict[ModelName, ServedModel]:
    """Every configured model with its engine, never loaded. Raises ConfigError for a wrong engine or setting."""
    from springtide.engines.binding import describe
    from springtide.engines.catalog import load_engine
    from springtide.gateway.services import ServedModel

    served: dict[ModelName, ServedModel] = {}
    for name, model in config.models.items():
        engine = load_engine(model.engine)
        served[ModelName(name)] = ServedModel(
            model=describe(ModelName(name), engine, engine_reference=model.engine),
            engine=engine(model.settings, config.weights_folder),
            timeout_s=model.timeout_s,
            max_attempts=model.max_attempts,
        )
    return served


def worker_settings(config: Config, name: str) -> WorkerSettings:
    from springtide.worker.service import WorkerSettings

    model = config.models[name]
    return WorkerSettings(
        model=ModelName(name),
        engine_reference=model.engine,
        settings=model.settings,
        weights_folder=config.weights_folder,
        scratch_folder=config.scratch_folder,
        slots=model.slots,
        batch=model.batch,
        timeout_s=model.timeout_s,
        load_timeout_s=model.load_timeout_s,
        memory_limit_mb=model.memory_limit_mb,
        grace_s=model.grace_s,
    )


def scaling_settings(config: Config) -> dict[ModelName, ScalingSettings]:
    from springtide.policy.scaling import ScalingSettings

    return {
        ModelName(name): ScalingSettings(
            model=ModelName(name),
            min_replicas=model.min_replicas,
            max_replicas=model.max_replicas,
            jobs_per_replica=model.jobs_per_replica or model.slots,
            idle_s=model.idle_s,
        )
        for name, model in config.models.items()
    }
