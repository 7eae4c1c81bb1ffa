"""Random walks over every verb, against what must always hold."""
# ruff: noqa: PT017 - a random rule may be granted or refused; what it asserts depends on which

import itertools

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from locking import AlreadyHeld, Holder, Lock, LockManager, LockMode, ResourceLocked, Waiter
from locking.modes import conflict

NAMES = ["a", "b", "c"]
OWNERS = ["ann", "bob", "cid", "dan"]
_numbers = itertools.count()

some_names = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
owners = st.sampled_from(OWNERS)
modes = st.sampled_from([LockMode.SHARED, LockMode.EXCLUSIVE])


class Walk(RuleBasedStateMachine):
    """Four owners ask, queue, change and release; the machine only ever looks at what the store shows."""

    url = namespace = ""

    def __init__(self) -> None:
        super().__init__()
        self.locks = LockManager.from_url(self.url, namespace=f"{self.namespace}_{next(_numbers)}")
        self.held: dict[str, Lock] = {}
        self.parked: dict[str, tuple[str, dict[str, LockMode]]] = {}
        self.places: dict[str, tuple[int, int]] = {}  # of each request: priority and arrival
        self.fences = dict.fromkeys(NAMES, 0)

    def teardown(self) -> None:
        for request, _ in self.parked.values():
            self.locks.cancel(request)
        for owner in OWNERS:
            self.locks.reap(owner)
        assert self.locks.list() == ()
        self.held.clear()
        self.locks.close()

    def _idle(self, owner: str) -> bool:
        return owner not in self.held and owner not in self.parked

    def _keep(self, owner: str, lock: Lock) -> None:
        for name in lock.names:
            assert lock.fence > self.fences[name], "fences strictly grow"
            self.fences[name] = lock.fence
        self.held[owner] = lock

    @rule(owner=owners, names=some_names, mode=modes)
    def acquire(self, owner: str, names: list[str], mode: LockMode) -> None:
        before = self._shown()
        if owner in self.parked:
            return
        try:
            lock = self.locks.acquire(names, mode, owner=owner)
        except AlreadyHeld:
            assert owner in self.held
            assert self._shown() == before, "a refusal changes nothing"
        except ResourceLocked as error:
            assert self._shown() == before, "a refusal changes nothing"
            assert error.holders or error.waiters, "a refusal names a reason"
            assert all(conflict(mode, holder.mode) for holder in error.holders), (
                "each holder named really is in the way"
            )
        else:
            if owner in self.held:
                lock.release()
            else:
                self._keep(owner, lock)

    @rule(owner=owners, names=some_names, mode=modes, priority=st.integers(-2, 2))
    def enqueue(self, owner: str, names: list[str], mode: LockMode, priority: int) -> None:
        if not self._idle(owner):
            return
        arrival = next(_numbers)
        request = f"{owner}.{arrival}"
        lock = self.locks.enqueue(request, names, mode, owner=owner, priority=priority, provisional=300.0)
        if lock:
            self._keep(owner, lock)
        else:
            self.parked[owner] = (request, dict.fromkeys(names, mode))
            self.places[owner] = (priority, arrival)

    @precondition(lambda self: self.parked)
    @rule(data=st.data(), priority=st.integers(-2, 2))
    def change_priority(self, data: st.DataObject, priority: int) -> None:
        owner = data.draw(st.sampled_from(sorted(self.parked)))
        assert self.locks.change_priority(self.parked[owner][0], priority)
        self.places[owner] = (priority, self.places[owner][1])

    @precondition(lambda self: self.parked)
    @rule(data=st.data())
    def fetch_or_cancel(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.parked)))
        request, wants = self.parked[owner]
        if data.draw(st.booleans()):
            self.locks.cancel(request)
            del self.parked[owner]
        elif lock := self.locks.enqueue(request, wants, owner=owner):
            self.held[owner] = lock
            for name in lock.names:
                self.fences[name] = max(self.fences[name], lock.fence)
            del self.parked[owner]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release_or_change(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.held)))
        lock = self.held[owner]
        match data.draw(st.sampled_from(["release", "downgrade", "upgrade", "transfer"])):
            case "release":
                assert self.held.pop(owner).release()
            case "downgrade":
                lock.downgrade()
            case "upgrade":
                try:
                    lock.upgrade()
                except ResourceLocked as error:
                    assert error.holders
            case "transfer":
                self.held[owner] = self.locks.adopt(lock.transfer(), owner=owner)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.held)))
        assert self.locks.reap(owner) == 1
        assert not self.held.pop(owner).release()

    @invariant()
    def no_two_holders_conflict(self) -> None:
        for holders, _ in self._shown().values():
            for one, other in itertools.combinations(holders, 2):
                assert not conflict(one[1], other[1])

    @invariant()
    def nothing_that_could_be_granted_waits(self) -> None:
        shown = self._shown()
        for owner, (_, wants) in self.parked.items():
            queues = {name: shown.get(name, ([], []))[1] for name in wants}
            if not all(any(waiter[0] == owner for waiter in queue) for queue in queues.values()):
                continue  # it was granted meanwhile
            blocked = any(
                any(conflict(mode, holder[1]) for holder in shown[name][0] if holder[0] != owner)
                or any(conflict(mode, other[1]) for other in _before(owner, queues[name]))
                for name, mode in wants.items()
            )
            assert blocked, f"{owner} waits for {wants} though nobody is in the way: {shown}"

    @invariant()
    def waiters_stand_by_priority_and_then_by_arrival(self) -> None:
        for _, waiters in self._shown().values():
            places = [self.places[owner] for owner, _ in waiters]
            assert places == sorted(places)

    def _shown(self) -> dict[str, tuple[list[tuple[str, LockMode]], list[tuple[str, LockMode]]]]:
        def facts(parties: tuple[Holder, ...] | tuple[Waiter, ...]) -> list[tuple[str, LockMode]]:
            return [(party.owner, party.mode) for party in parties]

        return {state.name: (facts(state.holders), facts(state.waiters)) for state in self.locks.list()}


def _before(owner: str, queue: list[tuple[str, LockMode]]) -> list[tuple[str, LockMode]]:
    return list(itertools.takewhile(lambda waiter: waiter[0] != owner, queue))


@pytest.fixture
def walk(url: str, namespace: str) -> type[Walk]:
    Walk.url, Walk.namespace = url, namespace
    return Walk


def test_whatever_happens_the_invariants_hold(walk: type[Walk]) -> None:
    quick = "redis://" in walk.url
    run_state_machine_as_test(
        walk,
        settings=settings(
            max_examples=25 if quick else 4,
            stateful_step_count=30 if quick else 15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
