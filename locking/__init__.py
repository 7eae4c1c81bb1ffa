"""Exclusive and shared locks on names, fenced and leased, in Redis or SQL."""
