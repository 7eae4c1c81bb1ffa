"""Any order of joins, deaths, drains and restarts keeps the invariants of a group."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from partitioning import PartitionCoordinator, Standing
from tests.partitioning.conftest import GROUP, Groups

NAMES = st.sampled_from(["1", "11", "worker@a", "zoë"])
ITEMS = [f"subcloud-{number}" for number in range(40)]


class GroupMachine(RuleBasedStateMachine):
    """The members of one group, and what each of them must be."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.groups = Groups(self.url)
        self.groups.client.flushall()
        self.members: dict[str, PartitionCoordinator] = {}
        self.expected: dict[str, Standing] = {}
        self.lived: set[str] = set()
        self.observer = self.groups.member("observer")
        self.seen = self.observer.view(GROUP)

    @rule(name=NAMES)
    def join_or_restart(self, name: str) -> None:
        if name not in self.members:
            self.expected[name] = Standing.WAITING
            self.lived.discard(name)
        elif self.expected[name] is Standing.DRAINING:
            self.expected[name] = Standing.ACTIVE if name in self.lived else Standing.WAITING
        self.members[name] = self.groups.member(name, GROUP, hold_down=300.0)
        self._let_count()

    @rule(name=NAMES)
    def die(self, name: str) -> None:
        if self.members.pop(name, None):
            del self.expected[name]
            self.groups.end_lease(name)
            self._let_count()

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        if member := self.members.pop(name, None):
            del self.expected[name]
            member.stop()
            self._let_count()

    @rule(name=NAMES)
    def live_through_the_hold_down(self, name: str) -> None:
        if name in self.members:
            self.lived.add(name)
            self.groups.end_hold_down(name)
            if self.expected[name] is Standing.WAITING:
                self.expected[name] = Standing.ACTIVE

    @rule(name=NAMES, draining=st.booleans())
    def drain(self, name: str, draining: bool) -> None:
        if name in self.members:
            self.members[name].drain(GROUP, draining=draining)
            if draining:
                self.expected[name] = Standing.DRAINING
            elif self.expected[name] is Standing.DRAINING:
                self.expected[name] = Standing.ACTIVE if name in self.lived else Standing.WAITING
            self._let_count()

    def _let_count(self) -> None:
        """Where nobody counts, all do that wait."""
        if Standing.ACTIVE not in self.expected.values():
            waiting = [name for name, standing in self.expected.items() if standing is Standing.WAITING]
            self.expected.update(dict.fromkeys(waiting, Standing.ACTIVE))

    @invariant()
    def the_group_is_what_was_done_to_it(self) -> None:
        view = self.observer.view(GROUP)
        assert {member.name: member.standing for member in view.everyone} == self.expected
        assert view.members == sorted(view.members)

    @invariant()
    def the_epoch_grows_when_those_who_count_change_and_only_then(self) -> None:
        before, self.seen = self.seen, self.observer.view(GROUP)
        counted = [
            [(m.name, m.incarnation) for m in view.everyone if m.standing is Standing.ACTIVE]
            for view in (before, self.seen)
        ]
        assert self.seen.epoch >= before.epoch
        if counted[0] != counted[1]:
            assert self.seen.epoch > before.epoch

    @invariant()
    def every_item_has_one_owner_at_one_epoch(self) -> None:
        shares = [member.extract_my_subset(GROUP, ITEMS) for member in self.members.values()]
        owned = sorted(item for share in shares for item in share)
        assert owned == (sorted(ITEMS) if Standing.ACTIVE in self.expected.values() else [])
        assert len({share.epoch for share in shares}) <= 1

    def teardown(self) -> None:
        self.groups.close()


@pytest.fixture
def machine(valkey_url: str) -> Iterator[type[GroupMachine]]:
    GroupMachine.url = valkey_url
    return GroupMachine


def test_every_history_of_a_group_keeps_its_invariants(machine: type[GroupMachine]) -> None:
    limits = settings(max_examples=80, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=limits)
