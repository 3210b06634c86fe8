"""observe → decide → apply → record, for every model, at least twice a second.

A policy is asked as often as it wants to be, and at once where jobs wait and no replica is there: a wake-up from zero
does not wait for anybody's interval. Between two decisions the last one stays in force, so that a worker that died is
replaced. What changes is written down with its reason and figures; so are samples of queue and fleet for a timeline,
and what the policies have learnt, so that the next controller goes on where this one stopped. None of that is on the
way of a decision: a ledger that is away costs history, not replicas.

What an operator orders by hand goes before what a policy wishes, from the next round on; orders that were read once
hold for as long as they cannot be read anew.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec

from springtide.controller.fleet_figures import FleetFigures
from springtide.controller.floors import Floors
from springtide.controller.sharing import Sharing
from springtide.controller.signals import Looked, Signals
from springtide.controller.troubles import TroubleBoard
from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.fleet import Decision
from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.orders import OrderKind, Orders, Pause, Pin, in_force
from springtide.fleet.protocol import Fleet
from springtide.ledger.history import FleetHistory, FleetSample, Memory, Scaled
from springtide.ledger.orders import OrderBook
from springtide.policy.elastic import by_hand
from springtide.policy.elastic.view import Advice, Policy, PoolView, Reason, memory_of
from springtide.runtime.loops import Loop
from springtide.telemetry.metrics import Metrics

log = logging.getLogger(__name__)
SCALE_EVERY_S = 0.5  # a cold start takes seconds; half a second to notice is a small part of it
SAMPLE_EVERY_S = 10.0  # 8,640 rows a day and model
REMEMBER_EVERY_S = 60.0  # what a crash may cost of what was learnt
SHARING_MEMORY = "sharing"
_NO_NEWS = frozenset({Reason.HOLD, Reason.COOLDOWN})
_BY_ORDER = frozenset({Reason.BY_HAND, Reason.PAUSED})


class Scaler:
    """A service: `start`, `stop`; `decisions` holds the newest decision of each model."""

    def __init__(  # noqa: PLR0913  # every seam of the loop comes in here; what may be absent by keyword
        self,
        signals: Signals,
        fleet: Fleet,
        history: FleetHistory,
        policies: Mapping[ModelName, Policy],
        clock: Clock,
        *,
        sharing: Sharing | None = None,
        book: OrderBook | None = None,
        figures: FleetFigures | None = None,
        floors: Floors | None = None,
    ) -> None:
        """policies: by model, or by the name of a pool of models. sharing: of a fleet with limited room. book: where
        operators' orders are. figures: told of each round. floors: of models with several versions."""
        self._figures = figures or FleetFigures(Metrics(), {})
        self._signals = signals
        self._fleet = fleet
        self._history = history
        self._clock = clock
        self._sharing = sharing
        self._book = book
        self._floors = floors
        self._orders = Orders()
        self._sent_away: set[WorkerId] = set()
        self._plans = {name: _Plan(name, policy) for name, policy in policies.items()}
        self._loop = Loop("scaler", self.scale_once, every_s=SCALE_EVERY_S, clock=clock)
        self._has_recalled = False
        self._sampled_at_s = float("-inf")
        self._remembered_at_s = float("-inf")
        self._unwritten: list[Scaled] = []
        self._board = TroubleBoard(history, clock)
        self.decisions: dict[ModelName, Decision] = {}

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        await self._loop.stop()
        await self._tolerate(self._remember())

    async def scale_once(self) -> None:
        """One round over all models."""
        if not self._has_recalled:
            await self._tolerate(self._recall())
        if self._book is not None:
            await self._tolerate(self._read_orders(self._book))
        orders = self._orders
        await self._fleet.drain(list(orders.drains))
        looked = await self._signals.look(paused=orders.pauses)
        now_s = self._clock.now_s()
        decisions: dict[ModelName, Decision] = {}
        for name, plan in self._plans.items():
            pause = orders.pause_of(looked[name].models)
            decisions[name] = plan.decide(looked[name], now_s, pause=pause, pin=orders.pins.get(name))
            if self._floors is not None:
                decisions[name] = _at_least(self._floors.of(name), decisions[name])
        if self._sharing is not None:
            decisions = self._sharing.settle(decisions, looked, now_s)
        for name, plan in self._plans.items():
            found = looked[name]
            decision = plan.decision = decisions[name]
            if (news := plan.news(found.view.replicas)) is not None:
                scaled = Scaled(at_s=now_s, before=found.view.replicas, decision=news)
                self._unwritten.append(scaled)
                self._figures.decided(news, found.view.replicas)
                _log(scaled)
            self.decisions[name] = decision
            await self._fleet.apply(decision, drain_first=found.idle)
        self._note_drains()
        self._figures.looked(looked, self.decisions)
        await self._tolerate(self._write(looked, now_s))
        if self._book is not None and orders.drains:
            await self._tolerate(self._forget_gone(self._book, looked))

    async def _read_orders(self, book: OrderBook) -> None:
        now_s, found = self._clock.now_s(), await book.all_orders()
        self._orders = in_force(found, now_s)
        for order in found:
            if isinstance(order, Pin) and order.model not in self._orders.pins:
                log.info("%s: the time of %d replicas by hand is over", order.model, order.replicas)
                await book.drop_order(OrderKind.PIN, order.model)

    def _note_drains(self) -> None:
        """Who was sent away by hand stands among the decisions: somebody will ask why the fleet moved."""
        for worker, drain in self._orders.drains.items():
            decision = self.decisions.get(drain.model)
            if worker not in self._sent_away and decision is not None:
                self._sent_away.add(worker)
                message = by_hand.sent_away(drain)
                told = msgspec.structs.replace(decision, reason=Reason.BY_HAND.value, message=message, figures={})
                self._unwritten.append(Scaled(at_s=drain.at_s, before=decision.replicas, decision=told))
                log.info("%s: %s", drain.model, message)

    async def _forget_gone(self, book: OrderBook, looked: Mapping[ModelName, Looked]) -> None:
        """Drop orders to workers that are gone: neither a process of the fleet nor known to the broker."""
        there = {replica.worker for replica in await self._fleet.observe()}
        for drain in self._orders.drains.values():
            found = looked.get(drain.model)
            if found is None or found.queue is None or drain.worker in there:
                continue
            if all(worker.worker != drain.worker for worker in found.queue.workers):
                await book.drop_order(OrderKind.DRAIN, drain.worker)
                self._sent_away.discard(drain.worker)

    async def _write(self, looked: Mapping[ModelName, Looked], now_s: float) -> None:
        await self._board.tell({name: looked[name].troubles for name in self._plans})
        if self._unwritten:
            await self._history.put_scaled(self._unwritten)
            self._unwritten = []
        if now_s - self._sampled_at_s >= SAMPLE_EVERY_S:
            self._sampled_at_s = now_s
            await self._history.put_samples([plan.sample(looked[name], now_s) for name, plan in self._plans.items()])
        if now_s - self._remembered_at_s >= REMEMBER_EVERY_S:
            self._remembered_at_s = now_s
            await self._remember()

    async def _recall(self) -> None:
        plans = list(self._plans.values())
        *found, shared = await self._history.memories([*(plan.memory_name for plan in plans), SHARING_MEMORY])
        for plan, memory in zip(plans, found, strict=True):
            if memory is not None:
                plan.recall(memory.body)
        if shared is not None and self._sharing is not None:
            self._sharing.recall(shared.body)
        self._has_recalled = True

    async def _remember(self) -> None:
        now_s = self._clock.now_s()
        told = {plan.memory_name: body for plan in self._plans.values() if (body := plan.told())}
        if self._sharing is not None:
            told[SHARING_MEMORY] = self._sharing.told()
        await self._history.put_memories([Memory(name=name, at_s=now_s, body=body) for name, body in told.items()])

    async def _tolerate(self, doing: Awaitable[None]) -> None:
        try:
            await doing
        except (Unavailable, OutcomeUnknown) as error:
            del self._unwritten[:-100]  # a long outage must not fill the memory
            log.debug("the fleet's history is not written: %s", error)


def _at_least(least: int, decision: Decision) -> Decision:
    """A version's floor, which follows the weights of a rollout; an operator's order goes before it."""
    if decision.replicas >= least or decision.reason in _BY_ORDER:
        return decision
    message = f"{least} is the least of this version at its weight; {decision.message}"
    return msgspec.structs.replace(decision, replicas=least, reason=Reason.FLOOR, message=message)


class _Plan:
    """One model's policy, what it remembers and what it said last."""

    def __init__(self, name: ModelName, policy: Policy) -> None:
        self._name = name
        self._policy = policy
        self._memory: Any = None
        self._asked_at_s = float("-inf")
        self._arrived: int | None = None  # at the last sample
        self._told: tuple[int, str] | None = None  # replicas and reason as last written down
        self.memory_name = f"{policy.name}:{name}"
        self._wish: Decision | None = None  # the policy's, before models share what there is
        self.decision: Decision | None = None  # in force

    def decide(self, looked: Looked, now_s: float, *, pause: Pause | None, pin: Pin | None) -> Decision:
        """What an operator has ordered, else what its policy wants. While it is paused the policy is not asked, and
        learns nothing: jobs that wait because of that tell nothing of how many replicas they need."""
        if pause is not None:
            self._wish = None
            return _decision(self._name, by_hand.paused(looked.view, pause, pin))
        wish = self._wished(looked.view, now_s)
        return wish if pin is None else _decision(self._name, by_hand.pinned(pin, wish))

    def _wished(self, view: PoolView, now_s: float) -> Decision:
        """Its policy's wish: asked where that is due, else as it said the last time."""
        is_urgent = bool(view.waiting) and view.replicas == 0
        past_s = now_s - self._asked_at_s
        if self._wish is not None and not is_urgent and 0 <= past_s < self._policy.interval_s:
            return self._wish
        self._asked_at_s = now_s
        advice, self._memory = self._policy.decide(view, self._memory)
        self._wish = _decision(self._name, advice)
        return self._wish

    def news(self, before: int) -> Decision | None:
        """The decision in force, where it is worth writing down: it changes the number, or what holds it is another
        reason than the one written last. Says so once."""
        decision, told = self.decision, self._told
        assert decision is not None
        if told is None:
            is_other = decision.reason not in _NO_NEWS
            is_news = decision.replicas != before or is_other
        else:
            is_free = told[1] in _BY_ORDER and decision.reason not in _BY_ORDER
            is_other = decision.reason != told[1] and (decision.reason not in _NO_NEWS or is_free)
            is_news = decision.replicas != told[0] or is_other
            if is_free:
                message = f"no longer by an operator's order; {decision.message}"
                decision = msgspec.structs.replace(decision, message=message)
        if not is_news and told is not None:
            return None
        self._told = (decision.replicas, decision.reason)
        return decision if is_news else None

    def sample(self, looked: Looked, now_s: float) -> FleetSample:
        view, queue = looked.view, looked.queue
        arrived = None if self._arrived is None else view.arrived - self._arrived
        self._arrived = view.arrived
        is_fresh = queue is not None and view.age_s < SAMPLE_EVERY_S
        return FleetSample(
            model=self._name,
            at_s=now_s,
            arrived=arrived,
            queued=queue.queued if queue is not None and is_fresh else None,
            running=queue.leased if queue is not None and is_fresh else None,
            oldest_wait_s=round(view.oldest_wait_s, 3) if is_fresh else None,
            wait_s_p95=looked.wait_s_p95,
            wanted=self.decision.replicas if self.decision else 0,
            ready=view.ready,
            busy=len(view.busy_left_s),
            loading=len(view.loading_left_s),
            draining=view.draining,
        )

    def told(self) -> str | None:
        """What is remembered, as JSON; None where there is nothing yet."""
        return None if self._memory is None else msgspec.json.encode(self._memory).decode()

    def recall(self, body: str) -> None:
        """Take up what an earlier controller remembered; what this version cannot read is forgotten."""
        self._memory = memory_of(body, self._policy.memory_type)
        if self._memory is None:
            log.warning("what the policy %s of %s had learnt cannot be read any more", self._policy.name, self._name)


def _decision(name: ModelName, advice: Advice) -> Decision:
    return Decision(
        model=name,
        replicas=advice.replicas,
        reason=advice.reason.value,
        message=advice.message,
        wish=advice.wish,
        figures=advice.figures,
    )


def _log(scaled: Scaled) -> None:
    decision = scaled.decision
    if decision.replicas == scaled.before:
        log.info("%s: stays at %d (%s: %s)", decision.model, scaled.before, decision.reason, decision.message)
    else:
        words = (decision.model, scaled.before, decision.replicas, decision.reason, decision.message)
        log.info("%s: %d → %d replicas (%s: %s)", *words)
