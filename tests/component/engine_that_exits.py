"""An engine whose module ends the process that imports it, as a broken native library does."""

from __future__ import annotations

import os

os._exit(3)
