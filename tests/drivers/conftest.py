"""BMCs and databases to talk to: emulated ones, one that does as it is told, and real PostgreSQL."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest

from tasks.cli.redfish_emulator import RedfishEmulator

SYSTEM = "/redfish/v1/Systems/1"
Answer = tuple[int, Any] | None


class ScriptedBmc:
    """A BMC with one system; `answer` may be replaced, and says nothing at all where it returns None."""

    def __init__(self) -> None:
        self.system: dict[str, Any] = {
            "Id": "1",
            "PowerState": "On",
            "Boot": {"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None"},
            "Actions": {
                "#ComputerSystem.Reset": {
                    "target": f"{SYSTEM}/Actions/ComputerSystem.Reset",
                    "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "ForceRestart"],
                }
            },
        }
        self.requests: list[tuple[str, str]] = []
        self.answer: Callable[[str, str], Answer] = self.obey
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def obey(self, method: str, path: str) -> Answer:
        """Answer as a BMC should; a reset changes nothing."""
        if method != "GET":
            return 204, None
        systems = {"Members": [{"@odata.id": SYSTEM}], "Members@odata.count": 1}
        root = {
            "Id": "RootService",
            "Name": "Root",
            "RedfishVersion": "1.15.0",
            "Systems": {"@odata.id": "/redfish/v1/Systems"},
        }
        known = {"/redfish/v1": root, "/redfish/v1/Systems": systems, SYSTEM: self.system}
        found = known.get(path.rstrip("/"))
        return (200, found) if found else (404, {"error": {"message": "no such resource"}})

    def close(self) -> None:
        """Let go whoever waits for an answer, and stop."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        bmc = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                bmc.requests.append((self.command, self.path))
                answer = bmc.answer(self.command, self.path)
                if answer is None:
                    bmc._released.wait(30)
                    return
                status, body = answer
                self.send_response(status)
                self.end_headers()
                if body is not None:
                    self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            do_POST = do_PATCH = do_GET  # noqa: N815 - the base class's names

            def log_message(self, *_args: object) -> None:
                """Keep quiet."""

        return Handler


@pytest.fixture
def bmc() -> Iterator[ScriptedBmc]:
    bmc = ScriptedBmc()
    yield bmc
    bmc.close()


def machines(count: int, power_state: str = "Off") -> list[dict[str, Any]]:
    """The emulator's description of so many machines."""
    return [
        {
            "uuid": str(UUID(int=number + 1)),
            "name": f"node-{number}",
            "power_state": power_state,
            "nics": [{"mac": f"00:5C:52:31:3A:{number:02X}", "ip": "172.22.0.100"}],
        }
        for number in range(count)
    ]


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedfishEmulator]:
    """Emulated machines: node-0 to node-7 are off, node-8 to node-15 are on."""
    systems = [*machines(8), *machines(16, "On")[8:]]
    with RedfishEmulator(systems, tmp_path_factory.mktemp("emulator")) as emulator:
        yield emulator
