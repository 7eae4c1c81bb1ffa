"""A quiesced queue of periodic tasks: beats go on, ticks wait, and one is sent when the queue takes tasks again."""

from concurrent.futures import ThreadPoolExecutor

from tasks import app, pool
from tests.periodic.lab import Lab
from tests.processes import wait_until


def test_ticks_wait_while_their_queue_is_quiesced_and_no_beat_hangs(lab: Lab) -> None:
    # Given a leading beat whose tick waits in the queue
    lab.declare("tidy", run_immediately=True)
    beat = lab.beat()
    lab.passes(beat)
    assert pool.stats("periodic").ready == 1

    with ThreadPoolExecutor(1) as other, app.queues() as queues:
        # When somebody waits until the queue is quiet, and ticks are due again and again
        quiet = other.submit(pool.quiesce, "periodic", 60)
        wait_until(lambda: lab.client.hexists("fleetring:gates", "periodic"))
        for _ in range(3):
            lab.make_due("tidy", ago=90)
            lab.passes(beat)

        # Then nothing was added, and the queue is quiet when the first tick has run
        assert queues.stats("periodic").ready == 1
        assert not quiet.done()
        assert lab.sent() == ["tidy"]
        quiet.result(timeout=20)

    # And the beat still leads: the next pass sends one tick for all that were due
    lab.passes(beat)
    assert lab.sent() == ["tidy"]
