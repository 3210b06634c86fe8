"""Shared by all tests: failed asserts of the contract suites show what was compared."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("springtide.testing")
