"""How tasks are sent: cast from moulds where that gives the message which Celery would write, else by Celery."""

from tasks.sending.mould import Frame, Mould
from tasks.sending.moulds import TIMED, USUAL, Call, Moulds
from tasks.sending.result import Result

__all__ = ["TIMED", "USUAL", "Call", "Frame", "Mould", "Moulds", "Result"]
