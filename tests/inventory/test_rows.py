import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from locking import LockLost, LockManager, fenced
from tasks.inventory import ConcurrentChange, Database, Node, Subcloud, SyncState


def _add(database: Database, *names: str) -> None:
    with database.session() as session:
        session.add_all(Node(name=name, uuid=f"{number:036d}", driver="fake") for number, name in enumerate(names))


def test_a_new_row_has_defaults_that_need_no_second_look(database: Database) -> None:
    with database.session() as session:
        node = Node(name="node-1", uuid="u", driver="fake")
        subcloud = Subcloud(name="subcloud-1", driver="fake")
        session.add_all([node, subcloud])
    assert (node.fence, node.version, node.maintenance, node.driver_info, node.power_state) == (0, 1, False, {}, None)
    assert (subcloud.state, subcloud.generation, subcloud.attempts) == (SyncState.NONE, 0, 0)
    assert node.created_at == pytest.approx(time.time(), abs=5)


def test_every_write_counts_whoever_makes_it(database: Database) -> None:
    # Given a row
    _add(database, "node-1")
    # When a session writes it, and a statement does
    with database.session() as session:
        session.scalars(select(Node)).one().power_state = "on"
    with database.session() as session:
        session.execute(update(Node).where(Node.name == "node-1").values(power_state="off"))
    # Then both are counted and dated
    with database.reading() as session:
        node = session.scalars(select(Node)).one()
        assert node.version == 3
        assert node.updated_at >= node.created_at
        assert node.power_state == "off"


def test_a_session_does_not_overwrite_what_somebody_else_wrote_meanwhile(database: Database) -> None:
    _add(database, "node-1")
    # Given a session that loaded the row
    with database.reading() as session:
        stale = session.scalars(select(Node)).one()
    # When somebody else writes it first
    with database.session() as session:
        session.execute(update(Node).values(power_state="on"))
    # Then its own write is refused
    stale.power_state = "off"
    with pytest.raises(ConcurrentChange), database.session() as session:
        session.add(stale)


def test_a_block_that_raises_leaves_nothing_behind(database: Database) -> None:
    def write_and_fail() -> None:
        with database.session() as session:
            session.add(Node(name="node-1", uuid="u", driver="fake"))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with database.reading() as session:
        assert session.scalars(select(Node)).all() == []


def test_a_reading_session_keeps_nothing(database: Database) -> None:
    with database.reading() as session:
        session.add(Node(name="node-1", uuid="u", driver="fake"))
        session.flush()
    with database.reading() as session:
        assert session.scalars(select(Node)).all() == []


def test_two_nodes_cannot_have_one_name(database: Database) -> None:
    _add(database, "node-1")
    with pytest.raises(IntegrityError), database.session() as session:
        session.add(Node(name="node-1", uuid="other", driver="fake"))


def test_writers_that_read_first_queue_instead_of_failing(database: Database) -> None:
    # Given a counter and four threads that each read it and write it back 25 times
    _add(database, "node-1")

    def count() -> None:
        for _ in range(25):
            with database.session() as session:
                node = session.scalars(select(Node).with_for_update()).one()
                node.properties = {"count": node.properties.get("count", 0) + 1}

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then no step was lost and none failed
    with database.reading() as session:
        assert session.scalars(select(Node)).one().properties == {"count": 100}


def test_a_holder_whose_lock_went_on_to_another_cannot_write_the_row(database: Database, tmp_path: Path) -> None:
    _add(database, "node-1")
    off = update(Node).where(Node.name == "node-1").values(power_state="off")
    with closing(LockManager.from_url(f"sqlite:///{tmp_path / 'locks.db'}")) as locks:
        # Given a statement made under a lock that was then released and granted again
        with locks.acquire("node:node-1") as earlier:
            late = fenced(off, earlier)
        with locks.acquire("node:node-1") as lock, database.session() as session:
            session.execute(fenced(update(Node).values(power_state="on"), lock))
        # When it is carried out
        with pytest.raises(LockLost), database.session() as session:
            session.execute(late)
    # Then the row is the later holder's
    with database.reading() as session:
        node = session.scalars(select(Node)).one()
    assert (node.power_state, node.fence, node.version) == ("on", lock.fence, 2)
