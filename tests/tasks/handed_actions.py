"""Actions that take over locks in real workers; they tell what happens in a list in Redis."""

from typing import Any

from tasks import ActionTask, LockMode, app, node_action
from tests import journal

# a killed worker is missed soon
app.conf.broker_transport_options = {"lease": 2, "heartbeat": 0.3, "restart_grace": 0}


def tell(event: str, task: ActionTask, **details: Any) -> None:
    journal.tell(event, fence=task.lock.fence, nodes=[node.name for node in task.nodes], **details)


@node_action(name="handed.work")
def work(task: ActionTask, door: str = "") -> str:
    """Begin, wait for the door if there is one, end."""
    tell("began", task)
    if door:
        journal.wait_at(door)
    task.lock.ensure()
    tell("ended", task)
    return "done"


@node_action(name="handed.look", mode=LockMode.SHARED)
def look(task: ActionTask) -> str:
    tell("began", task, mode=task.lock.mode.value)
    return "seen"


@node_action(name="handed.fail")
def fail(task: ActionTask) -> None:
    tell("began", task)
    raise RuntimeError("the firmware image is torn")


@node_action(name="handed.defer_once")
def defer_once(task: ActionTask) -> None:
    tell("began", task)
    if journal.broker.incr("deferred") == 1:
        task.defer(delay=0.1)


@node_action(name="handed.pass_on")
def pass_on(task: ActionTask) -> str:
    """Let another action go on under this one's lock."""
    tell("began", task)
    return str(task.spawn_after(work.s(task.node.name)).id)


@node_action(name="handed.probe")
def probe(task: ActionTask, word: str, bad: str = "", door: str = "") -> str:
    """What runs on each node of a task: write the node's row under the lock that somebody else holds."""
    tell("probed", task, lock=repr(task.lock), mode=task.lock.mode.value)
    if door:
        journal.wait_at(door)
    if task.node.name == bad:
        raise RuntimeError(f"{bad} is on fire")
    task.save(task.node, boot_device="pxe")
    return f"{word} {task.node.name}"


@node_action(name="handed.probe_all")
def probe_all(task: ActionTask, bad: str = "", door: str = "") -> dict[str, str]:
    """Run the probe on every node of this task."""
    tell("began", task)
    states = task.map(probe, "hello", bad=bad, door=door)
    assert [node.boot_device for node in task.nodes] == ["pxe"] * len(task.nodes)
    return states


@app.task(name="handed.plain")
def plain(node: str) -> None:
    """Hold no nodes at all."""
