"""The ledger of periodic tasks in redbeat's storage: when each is due, which ticks were claimed, how runs ended."""

from tasks.ticks.ledger import Entry, Ledger, Pass, Tick
from tasks.ticks.record import Record

__all__ = ["Entry", "Ledger", "Pass", "Record", "Tick"]
