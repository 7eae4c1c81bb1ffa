"""How often a worker looks after parked tasks."""

from types import SimpleNamespace

import pytest

from tasks import reconciler
from tasks.reconciler import ReconcileParked
from tasks.transport import News


def test_where_nothing_is_parked_a_worker_looks_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a worker that hears that nothing is parked
    worker = SimpleNamespace(app=None, news=lambda: News(parking=False, sizes={}, waiting={}))
    step = ReconcileParked(worker)

    # Then it looks once, for a request may have been left, and not again for a while
    assert [step._is_due() for _ in range(3)] == [True, False, False]
    monkeypatch.setattr(reconciler.time, "monotonic", lambda now=reconciler.time.monotonic: now() + 30.0)
    assert [step._is_due() for _ in range(3)] == [True, False, False]

    # When something is parked, or the broker does not tell, then it looks each time
    worker.news = lambda: News(parking=True, sizes={}, waiting={})
    assert [step._is_due() for _ in range(3)] == [True] * 3
    worker.news = lambda: None
    assert [step._is_due() for _ in range(3)] == [True] * 3
