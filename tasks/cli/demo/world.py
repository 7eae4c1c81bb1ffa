"""The demo's world: emulated BMCs, empty subclouds, a centre with rows to replicate, and the fleet that runs it."""

import os
import shutil
from pathlib import Path

import yaml

from tasks.app import app
from tasks.cli.imports import import_inventory
from tasks.cli.local_fleet import LocalFleet, ensure_port_is_free
from tasks.cli.redfish_emulator import RedfishEmulator
from tasks.drivers.identity_seed import seed_central
from tasks.errors import FleetringError
from tasks.settings import ENV_PREFIX, HOME, USER_FILE

DATA = HOME / "demo"
#: The BMC address that the example file is written with.
EXAMPLE_BMC_PORT = 18000
#: How many users the centre has for each subcloud to receive.
CENTRAL_USERS = 200


class DemoNeedsItsOwnWorld(FleetringError):
    """Settings point the demo at somebody's real fleet."""


def example_file() -> Path:
    """Return the inventory file of the demo, in a checkout or in an installed package."""
    checkout = Path(__file__).parents[3] / "examples" / "demo" / "fleet.yaml"
    return checkout if checkout.exists() else Path(__file__).with_name("fleet.yaml")


def refuse_foreign_settings() -> None:
    """Make sure that nothing points the demo at a real broker or inventory.

    Raises:
        DemoNeedsItsOwnWorld: a setting is given in the environment or the user's file.
    """
    given = sorted(name for name in os.environ if name.upper().startswith(ENV_PREFIX))
    if USER_FILE.exists():
        given.append(str(USER_FILE))
    if given:
        raise DemoNeedsItsOwnWorld(
            f"the demo brings its own servers and would disregard {', '.join(given)}; unset them, or run it in an "
            "empty folder (`fleetring up` is the command that heeds settings)"
        )


class DemoWorld(LocalFleet):
    """A local fleet with BMCs and subclouds to work on; it begins empty each time.

    Args:
        bmc_port: where the emulated BMCs listen on loopback.
    """

    def __init__(self, bmc_port: int = EXAMPLE_BMC_PORT) -> None:
        super().__init__(DATA)
        self._bmc_port = bmc_port

    def build(self) -> None:
        """Start BMCs, broker, two workers and a beat, and fill the inventory.

        Raises:
            PortTaken: somebody listens on the BMCs' port.
            InventoryFileError: the example file has been changed and is wrong.
        """
        ensure_port_is_free("the BMCs", self._bmc_port, "--bmc-port")
        shutil.rmtree(DATA, ignore_errors=True)
        (DATA / "subclouds").mkdir(parents=True)
        inventory_file = self._own_copy_of_the_example()
        self._start_bmcs(inventory_file)
        centre = f"sqlite:///{DATA}/centre.db"
        seed_central(centre, users=CENTRAL_USERS)
        self.record(
            broker_url=self.start_broker(),
            database_url=f"sqlite:///{DATA}/fleetring.db",
            identity_url=centre,
            # A failed sync should come back while somebody is still watching.
            sync_hold_off="5",
        )
        app.runtime.database.upgrade()
        import_inventory(inventory_file)
        for name in ("worker-1", "worker-2"):
            self.start_worker(name)
        self.start_beat()

    def _own_copy_of_the_example(self) -> Path:
        text = example_file().read_text(encoding="utf-8")
        copy = DATA / "fleet.yaml"
        copy.write_text(text.replace(f":{EXAMPLE_BMC_PORT}", f":{self._bmc_port}"), encoding="utf-8")
        return copy

    def _start_bmcs(self, inventory_file: Path) -> None:
        nodes = yaml.safe_load(inventory_file.read_text(encoding="utf-8"))["nodes"]
        systems = [{"uuid": node["uuid"], "name": node["name"], "power_state": "Off"} for node in nodes]
        self.stack.enter_context(RedfishEmulator(systems, DATA / "bmcs", port=self._bmc_port))
