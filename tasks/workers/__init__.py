"""What is known of the workers: what they say of themselves, and what operators want of them."""

from tasks.workers.overview import Worker, overview
from tasks.workers.records import Report, Seen, Stage, Wish
from tasks.workers.register import Register

__all__ = ["Register", "Report", "Seen", "Stage", "Wish", "Worker", "overview"]
