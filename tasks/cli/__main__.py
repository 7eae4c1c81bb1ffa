"""``python -m tasks.cli`` is ``fleetring``."""

from tasks.cli import main

main()
