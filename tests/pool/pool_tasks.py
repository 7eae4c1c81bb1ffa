"""Tasks that tests of the work pool run in real workers; they tell what happens in a list in Redis."""

import threading
import time
from typing import Any

from celery.exceptions import Reject
from celery.utils.log import get_task_logger

from tasks import app, current, pool
from tests.journal import broker, tell, wait_at

# a killed worker is missed soon
app.conf.broker_transport_options = {"lease": 2, "heartbeat": 0.3, "restart_grace": 0}


@app.task(name="pool.note")
def note(text: str = "") -> str:
    tell("ran", text=text)
    return text


@app.task(name="pool.anything")
def anything(*args: Any, **kwargs: Any) -> None:
    tell("ran")


@app.task(name="pool.mortal", expires=60)
def mortal() -> None:
    tell("ran")


@app.task(name="pool.hold")
def hold(door: str) -> None:
    tell("began", door=door)
    wait_at(door)
    tell("ended", door=door)


@app.task(name="pool.defer_once")
def defer_once(text: str, priority: int | None = None, delay: float | None = None) -> str:
    tell("ran", text=text, priority=current.priority, retries=app.current_task.request.retries)
    if broker.incr(f"runs:{app.current_task.request.id}") == 1:
        current.defer(priority, delay)
    return text


@app.task(name="pool.spin")
def spin() -> None:
    """Go back into the queue again and again, until the test opens the door."""
    tell("ran")
    if not broker.llen("door:spin"):
        current.defer()


@app.task(name="pool.defer_wrongly")
def defer_wrongly() -> None:
    current.defer(priority="soon")  # type: ignore[arg-type]


@app.task(name="pool.obey")
def obey(patience: float = 20.0) -> str:
    """Work until asked to end."""
    tell("began")
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if current.should_terminate():
            tell("asked to end")
            return "ended early"
        time.sleep(0.05)
    return "never asked"


@app.task(name="pool.describe")
def describe() -> None:
    current.set_name("slot 4")
    get_task_logger(__name__).info("erasing")
    current.progress(3, 10, "erasing")
    tell("progress", state=app.AsyncResult(app.current_task.request.id).state)


@app.task(name="pool.whisper", bind=True)
def whisper(self: Any, name: str | None) -> str:
    if name:
        current.set_name(name)
    return threading.current_thread().name


@app.task(name="pool.add_a_child")
def add_a_child(door: str) -> None:
    tell("began")
    wait_at(door)
    child = pool.add(note.s("child"))
    tell("added", child=child.id)


@app.task(name="pool.quiesce_own_queue")
def quiesce_own_queue() -> None:
    pool.quiesce("actions", 5)


@app.task(name="pool.refuse", bind=True)
def refuse(self: Any) -> None:
    raise Reject("never", requeue=False)


@app.task(name="pool.fail")
def fail() -> None:
    raise RuntimeError("a task's last word")
