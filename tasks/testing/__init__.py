"""Fleets for tests of a user's own actions: fake machines, real locks and rows, with or without real workers.

>>> pytest_plugins = ["tasks.testing.plugin"]  # in conftest.py or in the test file: fixtures fleet and live_fleet
"""

from tasks.testing.fleet import Fleet, LiveFleet, WorkerSilent, eager_fleet, live_fleet, private_broker

__all__ = ["Fleet", "LiveFleet", "WorkerSilent", "eager_fleet", "live_fleet", "private_broker"]
