from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from tasks.inventory import Database, Node, Subcloud, SyncState, UnknownNode, UnknownSubcloud, nodes, subclouds

_UUIDS = [str(UUID(int=number)) for number in range(5)]


@pytest.fixture(autouse=True)
def fleet(database: Database) -> None:
    with database.session() as session:
        for number, uuid in enumerate(_UUIDS):
            session.add(
                Node(
                    name=f"node-{number}",
                    uuid=uuid,
                    driver="fake" if number % 2 else "redfish",
                    power_state="on" if number else None,
                    maintenance=number == 4,
                    last_error="broken" if number == 3 else None,
                )
            )
            state = SyncState.COMPLETED if number else SyncState.FAILED
            session.add(Subcloud(name=f"subcloud-{number}", driver="sql", state=state, managed=number > 2))


@contextmanager
def _counted(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield statements
    event.remove(database.engine, "before_cursor_execute", note)


def test_names_and_uuids_are_found_together_in_one_query(database: Database) -> None:
    with database.reading() as session, _counted(database) as statements:
        found = nodes.find(session, ("node-3", _UUIDS[1].upper(), "node-0"))
    assert [node.name for node in found] == ["node-3", "node-1", "node-0"]
    assert len(statements) == 1


def test_a_node_named_twice_in_different_ways_comes_once(database: Database) -> None:
    with database.reading() as session:
        found = nodes.find(session, iter(["node-2", _UUIDS[2], "node-1", "node-2"]))
    assert [node.name for node in found] == ["node-2", "node-1"]


def test_a_lone_name_is_not_taken_for_its_letters(database: Database) -> None:
    with database.reading() as session:
        assert [node.name for node in nodes.find(session, "node-2")] == ["node-2"]
        assert [subcloud.name for subcloud in subclouds.find(session, "subcloud-2")] == ["subcloud-2"]


def test_no_reference_asks_nothing(database: Database) -> None:
    with database.reading() as session, _counted(database) as statements:
        assert nodes.find(session, []) == []
        assert subclouds.find(session, ()) == []
    assert statements == []


def test_all_that_is_unknown_is_named_with_how_to_list(database: Database) -> None:
    with database.reading() as session:
        with pytest.raises(UnknownNode, match=r"unknown nodes 'a', 'b'; `fleetring nodes list`") as caught:
            nodes.find(session, ["node-1", "a", "b"])
        assert caught.value.references == ("a", "b")
        with pytest.raises(UnknownSubcloud, match=r"unknown subcloud 'x'; `fleetring subclouds list`"):
            subclouds.find(session, ["subcloud-1", "x"])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"driver": "fake"}, [1, 3]),
        ({"power_state": "on", "limit": 2}, [1, 2]),
        ({"maintenance": True}, [4]),
        ({"failed": True}, [3]),
        ({"failed": False, "after": "node-1"}, [2, 4]),
    ],
)
def test_nodes_are_listed_by_name_and_filtered(
    database: Database, filters: dict[str, object], expected: list[int]
) -> None:
    with database.reading() as session:
        assert [node.name for node in nodes.list_(session, **filters)] == [f"node-{number}" for number in expected]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"states": [SyncState.FAILED]}, [0]),
        ({"managed": True, "limit": 1}, [3]),
        ({"online": True}, []),
        ({"driver": "sql", "enabled": False, "after": "subcloud-2"}, [3, 4]),
    ],
)
def test_subclouds_are_listed_by_name_and_filtered(
    database: Database, filters: dict[str, object], expected: list[int]
) -> None:
    with database.reading() as session:
        names = [subcloud.name for subcloud in subclouds.list_(session, **filters)]
    assert names == [f"subcloud-{number}" for number in expected]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
def test_whatever_the_spelling_the_order_of_first_mention_is_kept(
    database: Database, mentions: list[tuple[int, bool]]
) -> None:
    references = [_UUIDS[number] if by_uuid else f"node-{number}" for number, by_uuid in mentions]
    with database.reading() as session:
        found = [node.name for node in nodes.find(session, references)]
    assert found == list(dict.fromkeys(f"node-{number}" for number, _ in mentions))
