"""Flower's settings, which it finds here by itself: a monitor without a password listens on loopback only."""

address = "127.0.0.1"
