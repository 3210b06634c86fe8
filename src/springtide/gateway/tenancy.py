"""Whose request this is: the one place that decides it. Until keys exist, everybody is the default tenant."""

from __future__ import annotations

from typing import Any

from litestar import Request

from springtide.domain.ids import DEFAULT_TENANT
from springtide.domain.tenant import Tenant

_DEFAULT = Tenant(id=DEFAULT_TENANT)


def tenant_of(request: Request[Any, Any, Any]) -> Tenant:
    """The tenant that owns what this request makes, and whose things it may see."""
    return _DEFAULT
