"""The one table of states: every (state, event) pair is either a row or an error."""

import itertools

import pytest

from springtide.domain.errors import IllegalTransition
from springtide.domain.job import LIVE, TERMINAL, TRANSITIONS, JobEvent, JobStatus, advance

S, E = JobStatus, JobEvent

EXPECTED = {
    S.QUEUED: {E.LEASED: S.IN_PROGRESS, E.FAILED: S.FAILED, E.CANCEL_REQUESTED: S.CANCELLED, E.EXPIRED: S.EXPIRED},
    S.IN_PROGRESS: {
        E.COMPLETED: S.COMPLETED,
        E.FAILED: S.FAILED,
        E.RETRIED: S.QUEUED,
        E.LOST: S.QUEUED,
        E.RELEASED: S.QUEUED,
        E.CANCEL_REQUESTED: S.CANCELLING,
    },
    S.CANCELLING: {
        E.CANCEL_REQUESTED: S.CANCELLING,
        E.CANCELLED: S.CANCELLED,
        E.COMPLETED: S.COMPLETED,
        E.FAILED: S.CANCELLED,
        E.RETRIED: S.CANCELLED,
        E.LOST: S.CANCELLED,
        E.RELEASED: S.CANCELLED,
    },
}


@pytest.mark.parametrize(("status", "event"), list(itertools.product(JobStatus, JobEvent)))
def test_every_pair_of_state_and_event_is_decided(status: JobStatus, event: JobEvent) -> None:
    wanted = EXPECTED.get(status, {}).get(event)
    if wanted is None:
        with pytest.raises(IllegalTransition, match=f"a {status} job cannot be {event}"):
            advance(status, event)
    else:
        assert advance(status, event) is wanted


def test_terminal_states_are_final() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] in TERMINAL]


def test_every_live_state_can_reach_an_end() -> None:
    for start in LIVE:
        reachable, frontier = {start}, [start]
        while frontier:
            here = frontier.pop()
            for (status, _), after in TRANSITIONS.items():
                if status is here and after not in reachable:
                    reachable.add(after)
                    frontier.append(after)
        assert reachable & TERMINAL


def test_a_job_is_either_live_or_ended() -> None:
    assert set(JobStatus) == TERMINAL | LIVE
    assert not TERMINAL & LIVE
