"""The fence: who lost the lock can't write, whatever it believes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from locking import ExclusiveLockRequired, InvalidRequest, LockLost, LockManager, LockMode, fenced, server_now


class Base(DeclarativeBase):
    pass


class Node(Base):
    __tablename__ = "fenced_nodes"
    name: Mapped[str] = mapped_column(primary_key=True)
    power: Mapped[str] = mapped_column(default="off")
    fence: Mapped[int | None] = mapped_column(default=None)
    epoch: Mapped[int] = mapped_column(default=0)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/nodes.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all([Node(name="n1"), Node(name="n2")])
    yield engine
    engine.dispose()


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[LockManager]:
    with LockManager.from_url(f"sqlite:///{tmp_path}/locks.db") as manager:
        yield manager


def _power_on(lock, *names, column="fence"):  # type: ignore[no-untyped-def]
    return fenced(update(Node).where(Node.name.in_(names)).values(power="on"), lock, column)


def test_a_holder_writes_and_its_fence_is_kept_in_the_row(engine: Engine, locks: LockManager) -> None:
    with locks.acquire("n1") as lock, Session(engine) as session:
        node = session.get_one(Node, "n1")
        session.execute(_power_on(lock, "n1"))
        assert node.power == "on"
        session.commit()
        assert session.get_one(Node, "n1").fence == lock.fence
        session.execute(_power_on(lock, "n1"))
        session.commit()


@pytest.mark.parametrize("names", [["n1"], ["n1", "n2"]])
def test_whoever_comes_after_a_later_grant_has_written_changes_nothing(
    engine: Engine, locks: LockManager, names: list[str]
) -> None:
    early, late = locks.acquire("n1"), locks.acquire("n1-again")
    with Session(engine) as session, session.begin():
        session.execute(_power_on(late, "n1"))
    with pytest.raises(LockLost, match="came too late"), Session(engine) as session, session.begin():
        session.execute(_power_on(early, *names))
    with pytest.raises(LockLost), engine.begin() as connection:
        connection.execute(_power_on(early, *names))
    with engine.connect() as connection:
        fences = {row.name: row.fence for row in connection.execute(select(Node.name, Node.fence))}
    assert fences == {"n1": late.fence, "n2": None}


def test_a_row_that_is_gone_is_no_loss(engine: Engine, locks: LockManager) -> None:
    with locks.acquire("n3") as lock, engine.begin() as connection:
        assert connection.execute(_power_on(lock, "n3")).rowcount == 0


def test_the_fence_may_live_in_another_column(engine: Engine, locks: LockManager) -> None:
    with locks.acquire("n1") as lock, engine.begin() as connection:
        connection.execute(_power_on(lock, "n1", column="epoch"))
        assert connection.scalar(select(Node.epoch).where(Node.name == "n1")) == lock.fence
        with pytest.raises(InvalidRequest, match="no column 'token'"):
            _power_on(lock, "n1", column="token")


def test_a_lock_that_is_known_to_be_lost_or_only_observes_makes_no_statement(locks: LockManager) -> None:
    lock = locks.acquire("n1")
    lock.release()
    with pytest.raises(LockLost):
        _power_on(lock, "n1")
    with pytest.raises(ExclusiveLockRequired):
        _power_on(locks.acquire("n1", LockMode.OBSERVE), "n1")


def test_the_databases_clock_reads_as_seconds(url: str) -> None:
    if "redis" in url or "unix" in url:
        pytest.skip("no SQL in Redis")
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(select(server_now())) == pytest.approx(time.time(), abs=2.0)
    engine.dispose()
