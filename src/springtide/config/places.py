"""Sections of the configuration about where things are: the gateway's address, broker, ledger, blobs."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from springtide.config.sections import Section

# A word, because TOML and JSON have none for what never ends.
Kept = Annotated[float, Field(ge=60)] | Literal["forever"]


def _scheme(url: str, *allowed: str) -> str:
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in allowed:
        raise ValueError(f"the URL must start with one of {', '.join(f'{name}://' for name in allowed)}")
    return url


class ServerConfig(Section):
    """Where the gateway listens and where everything is kept."""

    host: str = Field(default="127.0.0.1", description="Address to listen on. 0.0.0.0 opens it to the network.")
    port: int = Field(default=8321, ge=0, le=65535, description="TCP port; 0 picks a free one.")
    data_dir: Path = Field(default=Path("~/.springtide"), description="Folder for the ledger, blobs and the socket.")
    weights_dir: Path = Field(
        default=Path("~/.springtide/weights"), description="Folder for model files; may be shared."
    )
    auth: Literal["auto", "keys", "none"] = Field(
        default="auto",
        description="Whether callers need an API key. auto: not on a loopback address, else yes. keys: always, as "
        "behind a proxy on this machine. none: never; whoever reaches the server is the tenant `default`.",
    )
    tenant_header: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Header in which a proxy that knows its callers names the tenant, such as X-Tenant; it must "
        "overwrite what a caller sends, and nobody may reach the server past it. No key is asked for then.",
    )
    front: bool = Field(
        default=True,
        description="Whether a second process may take over connections that submit hundreds of jobs a second, for as "
        "long as they do. Without it one processor limits the gateway.",
    )
    max_upload_mb: int = Field(default=2048, ge=1, le=1_000_000, description="Largest upload of one file, MiB.")

    @field_validator("data_dir", "weights_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def _one_of_two(self) -> ServerConfig:
        if self.tenant_header is not None and self.auth == "keys":
            raise ValueError("tenant_header and auth = 'keys' exclude each other: a key names its tenant itself")
        return self

    @property
    def is_on_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


class BrokerConfig(Section):
    """The queue. `memory://` lives beside the gateway and is rebuilt from the ledger; `redis://` is your server."""

    url: str = Field(
        default="memory://",
        description="memory://, redis://, rediss://, unix:// or redis+sentinel://host:26379,host:26379/service URL.",
    )

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        return _scheme(value, "memory", "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")


class LedgerConfig(Section):
    """The truth."""

    url: str = Field(
        default="sqlite://", description="sqlite:// (a file under data_dir), sqlite:///path or postgresql:// URL."
    )
    keep_s: Kept = Field(
        default=2_592_000,
        description='Seconds, 60 or more, that ended jobs and their files are kept (30 days), or "forever".',
    )
    keep_history_s: float = Field(
        default=604_800,
        ge=3600,
        description="Seconds that scaling decisions and samples of queue and fleet are kept.",
    )
    keep_usage_s: Kept = Field(
        default=94_608_000,
        description='Seconds that what tenants used is kept, by day and model (3 years), or "forever".',
    )

    writer: bool = Field(
        default=True,
        description="Whether a second process may write to the SQLite file while hundreds of jobs a second are put on "
        "record, for as long as they are. Without it one processor limits the embedded ledger.",
    )

    @property
    def kept_s(self) -> float | None:
        """None: for ever."""
        return None if self.keep_s == "forever" else self.keep_s

    @property
    def usage_kept_s(self) -> float | None:
        """None: for ever."""
        return None if self.keep_usage_s == "forever" else self.keep_usage_s

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        return _scheme(value, "sqlite", "postgresql", "postgresql+asyncpg")


class BlobsConfig(Section):
    """Media in and out."""

    url: str = Field(
        default="file://",
        description="file:// (a folder under data_dir), file:///absolute/folder or "
        "s3://bucket/prefix?endpoint=https://host:port&region=name.",
    )
    access_key_id: str | None = Field(
        default=None, description="S3: access key; default: what the AWS variables, files or roles give."
    )
    secret_access_key: SecretStr | None = Field(default=None, description="S3: the secret of that key.")
    session_token: SecretStr | None = Field(default=None, description="S3: token of temporary keys.")
    public_endpoint: str | None = Field(
        default=None, description="S3: https://host:port by which clients reach the store; default: as we do."
    )
    presigned_uploads: bool = Field(
        default=True, description="S3: who asks for an upload URL gets one of the store; false: one of the gateway."
    )
    presigned_downloads: bool = Field(
        default=False, description="S3: downloads are redirected to the store; false: only with ?redirect=1."
    )
    keep_orphans_s: float = Field(
        default=86_400, ge=60, description="Seconds that an upload is kept that no job has used."
    )

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        return _scheme(value, "file", "s3")

    @model_validator(mode="after")
    def _keys(self) -> BlobsConfig:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together: set both or neither")
        return self
