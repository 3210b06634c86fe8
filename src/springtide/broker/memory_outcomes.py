"""Outcomes of the embedded broker: facts for the ledger, oldest first, until they are acked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice

from springtide.domain.lease import Outcome


class Seqs:
    """Ids `<unix ms>-<n>` that rise whatever the clock does."""

    def __init__(self) -> None:
        self._ms = 0
        self._n = 0

    def next(self, now_s: float) -> str:
        ms = int(now_s * 1000)
        if ms > self._ms:
            self._ms, self._n = ms, 0
        else:
            self._n += 1
        return f"{self._ms}-{self._n}"


class Outcomes:
    """Facts by id. An OrderedDict, for a plain dict gets slow where the front is taken away all the time."""

    def __init__(self) -> None:
        self._unacked: OrderedDict[str, Outcome] = OrderedDict()

    def __len__(self) -> int:
        return len(self._unacked)

    def add(self, outcome: Outcome) -> None:
        self._unacked[outcome.seq] = outcome

    def read(self, max_outcomes: int) -> list[Outcome]:
        return list(islice(self._unacked.values(), max_outcomes))

    def ack(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Drop what is on record and give back what was dropped. An id of a former broker that happens to be in use
        again drops nothing: the fact must be the same."""
        dropped: list[Outcome] = []
        for outcome in outcomes:
            found = self._unacked.get(outcome.seq)
            if found is not None and (found.id, found.attempt, found.status) == (
                outcome.id,
                outcome.attempt,
                outcome.status,
            ):
                del self._unacked[outcome.seq]
                dropped.append(found)
        return dropped
