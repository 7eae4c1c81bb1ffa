"""True queue lengths in Flower, whose broker page counts kombu's lists."""

import sys
from collections.abc import Iterable
from functools import partial
from typing import Any


def show_true_lengths(app: Any) -> None:
    """Make a Flower in this process ask this transport for the lengths of `app`'s queues; elsewhere, do nothing.

    Flower has no hook for it, so the class that its pages ask is replaced. ``celery`` loads its commands, Flower's
    among them, before the application: whoever loads the application inside Flower finds it there.
    """
    views = sys.modules.get("flower.views")
    if views is not None:
        vars(views)["Broker"] = partial(QueueLengths, app)


class QueueLengths:
    """What Flower asks a broker for; the broker's address and options are `app`'s own."""

    def __init__(self, app: Any, *_address: Any, **_options: Any) -> None:
        self._app = app

    async def queues(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Return the number of waiting tasks of each queue, ready and delayed ones."""
        with self._app.connection_for_read() as connection:
            channel = connection.default_channel
            return [{"name": name, "messages": int(channel.call("size", name))} for name in names]
