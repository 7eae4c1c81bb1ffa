"""Imported by the workers of a test: a broker that has only just started declares the dead dead, too."""

from tasks.app import app

app.conf.broker_transport_options["restart_grace"] = 0
