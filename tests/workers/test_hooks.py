import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from tasks.errors import InvalidCapabilities, SettingsError
from tasks.service import Manager, load_manager


def cut_off(url: str, pid: int) -> None:
    """Close every connection that a process and its children have to the broker, and nobody else's."""
    parent = psutil.Process(pid)
    ours = set()
    for one in [parent, *parent.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            ours |= {address.laddr.port for address in one.net_connections("tcp") if address.raddr}
    with redis.Redis.from_url(url) as client:
        for connection in client.client_list():
            if int(connection["addr"].rpartition(":")[2]) in ours:
                client.client_kill_filter(addr=connection["addr"])  # none is left where it has gone by itself


@pytest.mark.system
def test_hooks_run_once_and_in_order_and_a_lost_connection_repeats_none(
    workers: Any, valkey: str, wait_until: Callable[..., Any], known: Callable[[str], Any]
) -> None:
    # Given a worker whose manager writes a diary
    Path("diary").unlink(missing_ok=True)
    worker = workers.start("diary@x", FLEETRING_MANAGER="tests.workers.worker_tasks:Diary")
    worker.wait_until_ready()

    # Then capabilities that a hook gave are published beside the worker's own
    pid = worker.process.pid
    report = wait_until(
        lambda: (one := known("diary@x")) and one.report.pid == pid and one.report.capabilities and one.report
    )
    assert report.capabilities == ({"rack": "a1"},)
    assert report.node_drivers == ("fake", "redfish")
    assert (report.slots, report.pool) == (2, "prefork")
    assert {"actions", "periodic"} <= set(report.queues)

    # When its connection is lost, and it ends after that
    cut_off(valkey, worker.process.pid)
    wait_until(lambda: "Connection to broker lost" in worker.output)
    worker.terminate()

    # Then each hook ran once: before anybody knew of the worker, before it consumed, when it did, at its end
    diary = Path("diary").read_text().splitlines()
    assert diary[:3] == [
        "init_host known=False member=False idle=False",
        "pre_start_hook known=True member=True idle=False",
        "post_start_hook known=True member=True idle=False",
    ]
    assert [line.split()[0] for line in diary[3:]] == ["cleanup_host"]

    # And nobody knows of it any more
    assert known("diary@x") is None


@pytest.mark.system
def test_a_hook_that_fails_aborts_the_start_with_its_reason(workers: Any, known: Callable[[str], Any]) -> None:
    # Given managers whose hooks fail
    reasons = {
        "InitFails": "its hook InitFails.init_host failed: SystemExit: 0",
        "PreStartFails": "its hook PreStartFails.pre_start_hook failed: ValueError: no rack",
        "PostStartFails": "its hook PostStartFails.post_start_hook failed: ConnectionError: no uplink",
    }

    # When workers start with them, then they end with a status that says so, and with one sentence
    started = {
        name: workers.start(f"{name}@x", FLEETRING_MANAGER=f"tests.workers.worker_tasks:{name}") for name in reasons
    }
    for name, worker in started.items():
        assert worker.process.wait(60) == 1
        assert worker.output.count("The worker does not start: " + reasons[name]) == 1
        assert f"{name}@x ready." not in worker.output
        assert known(f"{name}@x") is None


def test_a_manager_that_is_none_is_named_with_what_was_meant(work: Any) -> None:
    assert load_manager("tests.workers.worker_tasks:Diary") is work.Diary
    with pytest.raises(SettingsError, match=r"manager = 'tests.workers.worker_tasks:Dairy' .* did you mean Diary\?"):
        load_manager("tests.workers.worker_tasks:Dairy")
    with pytest.raises(SettingsError, match="no_such_module cannot be imported"):
        load_manager("no_such_module:Manager")
    with pytest.raises(SettingsError, match="no subclass nap"):
        load_manager("tests.workers.worker_tasks:nap")


def test_capabilities_are_remembered_as_a_list_and_none_withdraws_them() -> None:
    manager = Manager("a@x")
    manager.update_capabilities({"racks": ("a1", "a2")})
    assert manager.capabilities == ({"racks": ["a1", "a2"]},)
    manager.update_capabilities([{"rack": 1}, {"rack": 2}])
    assert len(manager.capabilities) == 2
    manager.update_capabilities(None)
    assert manager.capabilities == ()
    for impossible in ("rack", ["rack"], {"rack": object()}):
        with pytest.raises(InvalidCapabilities, match="cannot be published"):
            manager.update_capabilities(impossible)
