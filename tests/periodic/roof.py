"""What the soak runs, in processes of their own: ``celery -A tests.periodic.roof:app``; ticks go into a journal."""

import json
import os

from redbeat.schedulers import get_redis

from tasks.app import app
from tasks.periodic import TICK_HEADER, periodic_task
from tasks.ticks import Tick

app.conf.include = ()

SPACING = float(os.environ.get("SOAK_SPACING", "1"))


@periodic_task(spacing=SPACING, jitter=0.0, name="metronome")
def metronome() -> None:
    """Write down which tick runs, and when, by the server's clock."""
    request = app.current_task.request
    tick = Tick.parse(request.headers[TICK_HEADER])
    client = get_redis(app)
    seconds, microseconds = client.time()
    entry = {"slot": tick.slot, "due": tick.due, "at": seconds + microseconds / 1e6}
    client.rpush("journal", json.dumps(entry))


@periodic_task(spacing=3, name="saboteur")
def saboteur() -> None:
    """Try to end the worker."""
    raise SystemExit(1)
