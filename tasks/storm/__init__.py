"""Keeps a storm of initial syncs from the centre: what they read there passes a gate that all processes share."""

from tasks.storm.errors import CentreBusy, CentreFailed, CentreUnavailable
from tasks.storm.gate import Budget, Client, Gate, GateState

__all__ = ["Budget", "CentreBusy", "CentreFailed", "CentreUnavailable", "Client", "Gate", "GateState"]
