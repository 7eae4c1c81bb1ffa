"""A fleet of emulated BMCs: the sushy-tools Redfish emulator as a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat
from typing import Any, Self

_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 5.0


class EmulatorError(Exception):
    """The emulator does not start; the message says why."""


class RedfishEmulator:
    """Emulated machines behind one Redfish service on loopback; their state changes take 1 to 11 seconds.

    It answers every request in a thread of its own and keeps the machines' state in a SQLite file, so that many
    clients may ask at once. All of it is set up before `start` returns: two first requests at the same time would
    each set up the machines, and the slower one could undo a change made after the faster.

    Args:
        systems: The machines: each a mapping with `uuid`, `name`, `power_state` ("On" or "Off") and `nics`
            (a list of mappings with `mac` and `ip`).
        directory: Where its configuration, state and log are written; made when missing.
        port: Where it listens. Defaults to a free port.
        auth_file: A password file in Apache's format (bcrypt only). Defaults to none: everybody may do everything.

    Attributes:
        log: The file that takes the emulator's output.
    """

    def __init__(
        self,
        systems: Sequence[Mapping[str, Any]],
        directory: str | Path,
        port: int | None = None,
        auth_file: str | Path | None = None,
    ) -> None:
        self._systems = [{"nics": [], **system} for system in systems]
        self._directory = Path(directory)
        self._port = port or _free_port()
        self._auth_file = auth_file
        self._process: subprocess.Popen[bytes] | None = None
        self.log = self._directory / "redfish-emulator.log"

    @property
    def url(self) -> str:
        """The address of the service, for `driver_info.address`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> Self:
        """Start the emulator and return when it answers.

        Raises:
            EmulatorError: when the port is taken, or when it does not answer within 20 seconds.
        """
        self._claim_port()
        self._directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "sushy_tools.emulator.main", "--fake", "--config", str(self._write_config())]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SUSHY_EMULATOR_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                [*command, "--interface", "127.0.0.1", "--port", str(self._port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the process, with force when it does not go within five seconds; twice does no harm."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    def _claim_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self._port))
            except OSError as error:
                raise EmulatorError(f"the Redfish emulator cannot have port {self._port}: {error.strerror}") from error

    def _write_config(self) -> Path:
        settings: dict[str, object] = {
            "SUSHY_EMULATOR_FAKE_SYSTEMS": self._systems,
            "SUSHY_EMULATOR_STATE_DIR": str(self._directory.resolve()),
        }
        if self._auth_file:
            settings["SUSHY_EMULATOR_AUTH_FILE"] = str(self._auth_file)
        path = self._directory / "redfish-emulator.conf"
        path.write_text("".join(f"{name} = {pformat(value)}\n" for name, value in settings.items()), encoding="utf-8")
        return path

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not _answers(f"{self.url}/redfish/v1/Systems/{self._systems[0]['uuid']}" if self._systems else self.url):
            if self.pid is None or time.monotonic() > deadline:
                tail = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise EmulatorError(f"the Redfish emulator does not answer on {self.url}; its log {self.log}:\n{tail}")
            time.sleep(0.05)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
