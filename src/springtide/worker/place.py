"""One model's place in a worker that hosts several: what the host has decided, and what the model's own loops ask for.

The loops of the model never load or unload anything themselves: they say that there is work, and take it while the
place is open.
"""

from __future__ import annotations

from collections.abc import Callable


class Place:
    """Not loaded at first. All times are monotonic."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """on_change: tells the host to look again."""
        self._on_change = on_change
        self.is_loaded = False
        self.is_leaving = False
        self.loaded_at_s = 0.0
        self.used_at_s = 0.0
        self.wanted_since_s: float | None = None
        self.has_served = False  # since it was loaded

    @property
    def is_open(self) -> bool:
        """Whether work may be taken."""
        return self.is_loaded and not self.is_leaving

    def want(self, now_s: float) -> None:
        """There is work, and the model is not loaded."""
        if self.wanted_since_s is None:
            self.wanted_since_s = now_s
            self._on_change()

    def want_no_more(self) -> None:
        """Somebody else took the work."""
        self.wanted_since_s = None
        self._on_change()

    def use(self, now_s: float) -> None:
        """Work was taken or has ended."""
        self.used_at_s = now_s
        self.has_served = True

    def changed(self) -> None:
        self._on_change()

    def load(self, now_s: float) -> None:
        self.is_loaded, self.is_leaving, self.has_served = True, False, False
        self.loaded_at_s = self.used_at_s = now_s
        self.wanted_since_s = None

    def leave(self) -> None:
        self.is_leaving = True

    def unload(self) -> None:
        self.is_loaded = self.is_leaving = False
