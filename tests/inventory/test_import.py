import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.drivers import node_drivers, subcloud_drivers
from tasks.inventory import Database, Imported, InventoryFileError, Kind, SyncState, import_file, nodes, subclouds

_FLEET = """\
nodes:
  - name: node-1
    driver: redfish
    driver_info: &bmc {address: "https://127.0.0.1:8443", credentials: rack-1}
  - name: node-2
    uuid: 27946B59-9E44-4FA7-8E91-F3527A1EF094
    driver: redfish
    driver_info: {<<: *bmc, system: abc}
    maintenance: true
    maintenance_reason: new disk
subclouds:
  - name: subcloud-1
    driver: sql
    driver_info: {database_url: "sqlite:///one.db"}
    managed: true
    online: true
"""


class _Drivers:
    """Drivers of which only `picky` minds what stands in a driver_info."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def names(self) -> tuple[str, ...]:
        return self._names

    def mistakes(self, name: str, driver_info: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
        if name == "picky":
            yield from (((key,), "unknown key") for key in driver_info)
            yield (), "lacks everything"


_NODE_DRIVERS = _Drivers("redfish", "fake", "picky")
_SUBCLOUD_DRIVERS = _Drivers("sql")

Import = Callable[..., dict[Kind, Imported]]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'inventory.db'}")
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def imported(database: Database, tmp_path: Path) -> Import:
    """Imports a text as an inventory file."""

    def run(text: str, **options: object) -> dict[Kind, Imported]:
        path = tmp_path / "fleet.yaml"
        path.write_text(text)
        return import_file(database, path, node_drivers=_NODE_DRIVERS, subcloud_drivers=_SUBCLOUD_DRIVERS, **options)

    return run


def _problems(imported: Import, text: str, **options: object) -> list[str]:
    with pytest.raises(InventoryFileError) as caught:
        imported(text, **options)
    return [f"{problem.line}: {problem.reason}" for problem in caught.value.problems]


def test_one_file_brings_nodes_and_subclouds(database: Database, imported: Import) -> None:
    assert imported(_FLEET) == {Kind.NODES: Imported(new=2), Kind.SUBCLOUDS: Imported(new=1)}
    with database.reading() as session:
        first, second = nodes.list_(session)
        (subcloud,) = subclouds.list_(session)
    assert first.driver_info == {"address": "https://127.0.0.1:8443", "credentials": "rack-1"}
    assert len(first.uuid) == 36
    assert second.uuid == "27946b59-9e44-4fa7-8e91-f3527a1ef094"
    assert second.driver_info == {"address": "https://127.0.0.1:8443", "credentials": "rack-1", "system": "abc"}
    assert (second.maintenance, second.maintenance_reason) == (True, "new disk")
    assert (subcloud.managed, subcloud.online) == (True, True)


def test_the_same_file_again_changes_nothing(database: Database, imported: Import) -> None:
    imported(_FLEET)
    assert imported(_FLEET) == {Kind.NODES: Imported(unchanged=2), Kind.SUBCLOUDS: Imported(unchanged=1)}
    with database.reading() as session:
        assert [node.version for node in nodes.list_(session)] == [1, 1]


def test_a_changed_entry_changes_its_row_and_keeps_what_was_found_out(database: Database, imported: Import) -> None:
    imported(_FLEET)
    with database.session() as session:
        nodes.find(session, "node-1")[0].power_state = "on"
    assert imported(_FLEET.replace("8443", "9443"))[Kind.NODES] == Imported(changed=2)
    with database.reading() as session:
        node = nodes.find(session, "node-1")[0]
    assert node.driver_info["address"] == "https://127.0.0.1:9443"
    assert node.power_state == "on"


def test_a_node_stays_in_maintenance_until_a_file_says_otherwise(database: Database, imported: Import) -> None:
    def maintenance() -> tuple[bool, str | None]:
        with database.reading() as session:
            (node,) = nodes.find(session, "node-2")
        return node.maintenance, node.maintenance_reason

    imported(_FLEET)
    silent = _FLEET.replace("    maintenance: true\n    maintenance_reason: new disk\n", "")
    assert imported(silent)[Kind.NODES] == Imported(unchanged=2)
    assert maintenance() == (True, "new disk")
    over = silent.replace("    uuid:", "    maintenance: false\n    uuid:")
    assert imported(over)[Kind.NODES] == Imported(changed=1, unchanged=1)
    assert maintenance() == (False, None)


def test_a_subcloud_that_becomes_managed_and_online_requests_its_initial_sync(
    database: Database, imported: Import
) -> None:
    def state() -> tuple[SyncState, int]:
        with database.reading() as session:
            (subcloud,) = subclouds.list_(session)
        return subcloud.state, subcloud.generation

    # Given a file that makes a new subcloud managed and online: that requests a sync, and once only
    imported(_FLEET)
    assert state() == (SyncState.REQUESTED, 1)
    imported(_FLEET)
    assert state() == (SyncState.REQUESTED, 1)
    # When a file says nothing of it, it stays as it is
    silent = _FLEET.replace("    managed: true\n    online: true\n", "")
    assert imported(silent)[Kind.SUBCLOUDS] == Imported(unchanged=1)
    assert state() == (SyncState.REQUESTED, 1)
    # When it goes offline, the sync is cancelled
    assert imported(_FLEET.replace("online: true", "online: false"))[Kind.SUBCLOUDS] == Imported(changed=1)
    assert state() == (SyncState.NONE, 2)


def test_only_the_kind_that_is_asked_for_is_imported(imported: Import) -> None:
    assert imported(_FLEET, kinds=[Kind.SUBCLOUDS]) == {Kind.SUBCLOUDS: Imported(new=1)}
    assert _problems(imported, "nodes: []", kinds=[Kind.SUBCLOUDS]) == ["0: has no list `subclouds:`"]


_FAULTY = """\
nodes:
  - name: node-1
    driver: redfis
    driver_info: {address: "http://admin:geheim@127.0.0.1:8000",
      bmc_password: geheim}
  - name: 123
    driver: fake
  - name: node-1
    drivr: fake
    driver_info:
      since: 2020-01-01
      list: [1, {a: .nan}]
  - name: 27946b59-9e44-4fa7-8e91-f3527a1ef094
    driver: fake
    driver: fake
  - just text
  - name: node-4
    driver: fake
    uuid: not-one
    maintenance_reason: dust
extra: 1
subclouds: {name: subcloud-1}
"""


def test_every_mistake_is_told_with_its_line_and_nothing_is_imported(database: Database, imported: Import) -> None:
    hint = "which the inventory does not keep: keep secrets in the credentials file, and name its entry here"
    no_name = "a name must not look like a UUID, or nobody could tell the two apart"
    no_json = "is neither text, number, truth value, list nor mapping: put it in quotes"
    assert _problems(imported, _FAULTY) == [
        "3: 'node-1': unknown driver 'redfis'; there are: fake, picky, redfish",
        f"4: 'node-1': the address holds a password, {hint}: `credentials: NAME`",
        f"5: 'node-1': 'bmc_password' smells of a secret, {hint}: `credentials: NAME`",
        "6: 123: name: is no text: put it in quotes",
        "8: 'node-1': driver: is missing",
        "8: the name 'node-1' stands already on line 2",
        "9: 'node-1': drivr: unknown key",
        f"11: 'node-1': datetime.date(2020, 1, 1) {no_json}",
        f"12: 'node-1': nan {no_json}",
        f"13: '27946b59-9e44-4fa7-8e91-f3527a1ef094': name: {no_name}",
        "15: the key 'driver' stands here a second time",
        "16: is no mapping with `name` and `driver`",
        "19: 'node-4': uuid: 'not-one' is no UUID",
        "21: unknown key 'extra'; legal are `nodes` and `subclouds`",
        "22: `subclouds` is not a list",
    ]
    with database.reading() as session:
        assert nodes.list_(session) == []


def test_the_message_gives_file_line_and_reason_but_no_secret(imported: Import, tmp_path: Path) -> None:
    with pytest.raises(InventoryFileError) as caught:
        imported(_FAULTY)
    message = str(caught.value)
    assert message.startswith("nothing was imported, 15 problems to correct:\n")
    assert f"{tmp_path / 'fleet.yaml'}:3: 'node-1': unknown driver" in message
    assert "geheim" not in message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message  # noqa: S301 - our own


def test_the_driver_checks_what_only_it_can_know(imported: Import) -> None:
    text = """\
nodes:
  - name: node-1
    driver: picky
    driver_info:
      address: here
      colour: red
  - {name: node-2, driver: picky}
"""
    assert _problems(imported, text) == [
        "4: 'node-1': driver_info: lacks everything",
        "5: 'node-1': driver_info: address: unknown key",
        "6: 'node-1': driver_info: colour: unknown key",
        "7: 'node-2': driver_info: lacks everything",
    ]


def test_the_installed_drivers_find_the_mistakes_of_their_driver_info(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("""\
nodes:
  - {name: node-1, driver: redfish}
  - {name: node-2, driver: redfish, driver_info: {address: "https://127.0.0.1", conect_timeout: 3}}
subclouds:
  - {name: subcloud-1, driver: sql, driver_info: {database_url: "mysql://host/x"}}
""")
    with pytest.raises(InventoryFileError) as caught:
        import_file(database, path, node_drivers=node_drivers, subcloud_drivers=subcloud_drivers)
    assert [(problem.line, problem.reason) for problem in caught.value.problems] == [
        (2, "'node-1': driver_info: address: Field required"),
        (3, "'node-2': driver_info: conect_timeout: Extra inputs are not permitted"),
        (5, "'subcloud-1': driver_info: database_url: must be a database of SQLite or PostgreSQL"),
    ]


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "bmc_Password",
        "passwd",
        "pwd",
        "bmc_pwd",
        "auth_token",
        "client-secret",
        "api_key",
        "apikey",
        "private_key",
        "access-key",
    ],
)
def test_a_key_that_smells_of_a_secret_is_refused_wherever_it_stands(imported: Import, key: str) -> None:
    text = f"nodes: [{{name: a, driver: fake, driver_info: {{deep: [{{{key}: x}}]}}}}]"
    (problem,) = _problems(imported, text)
    assert "smells of a secret" in problem


@pytest.mark.parametrize("key", ["credentials", "address", "passive", "keyboard", "tokyo"])
def test_a_harmless_key_is_kept(imported: Import, key: str) -> None:
    text = f"nodes: [{{name: a, driver: fake, driver_info: {{{key}: x}}}}]"
    assert imported(text)[Kind.NODES] == Imported(new=1)


def test_a_uuid_belongs_to_one_node_for_ever(imported: Import) -> None:
    imported(_FLEET)
    text = """\
nodes:
  - {name: node-2, driver: fake, uuid: 00000000-0000-0000-0000-000000000001}
  - {name: node-3, driver: fake, uuid: 27946b59-9e44-4fa7-8e91-f3527a1ef094}
"""
    assert _problems(imported, text) == [
        "2: the node 'node-2' has the UUID 27946b59-9e44-4fa7-8e91-f3527a1ef094, and a UUID never changes",
        "3: the UUID 27946b59-9e44-4fa7-8e91-f3527a1ef094 belongs to the node 'node-2'",
    ]
    assert imported(_FLEET)[Kind.NODES] == Imported(unchanged=2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: holds neither a list `nodes:` nor a list `subclouds:`"),
        ("- a", "1: holds neither a list `nodes:` nor a list `subclouds:`"),
        ("nodes:\n  - name: [", "2: is not legal YAML: "),
        ("nodes: []\n---\nnodes: []", "2: is not legal YAML: but found another document"),
        ("nodes: !!python/object:os.system {}", "1: is not legal YAML: could not determine a constructor"),
        ("a: &a [*a]\nnodes: []", "1: unknown key 'a'"),
        ("nodes: &a [{name: x, driver: fake, driver_info: {a: *a}}]", "1: 'x': is nested deeper than 32 levels"),
        ("nodes:\n- {name: 'a b', driver: fake}", "2: 'a b': name: a name starts with a letter or digit"),
        (f"nodes:\n- {{name: {'n' * 256}, driver: fake}}", "255 characters"),
    ],
)
def test_a_file_that_makes_no_sense_is_told_what_is_wrong(imported: Import, text: str, problem: str) -> None:
    assert problem in _problems(imported, text)[0]


def test_a_file_that_cannot_be_read_is_named(database: Database, tmp_path: Path) -> None:
    for content, reason in ((None, "No such file"), (b"\xff", "is not UTF-8 text")):
        path = tmp_path / "odd.yaml"
        if content:
            path.write_bytes(content)
        with pytest.raises(InventoryFileError, match=f"odd.yaml: .*{reason}"):
            import_file(database, path, node_drivers=_NODE_DRIVERS, subcloud_drivers=_SUBCLOUD_DRIVERS)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["nodes", "name", "driver", "fake", "x: [", "*a"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["nodes", "subclouds", "name", "driver", "driver_info", "uuid"]), inner)
        ),
        max_leaves=12,
    )
)
def test_whatever_stands_in_a_file_the_answer_is_an_import_or_a_list_of_problems(
    imported: Import, content: object
) -> None:
    with suppress(InventoryFileError):
        imported(json.dumps(content))
