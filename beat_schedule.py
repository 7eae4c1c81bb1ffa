"""Every periodic task of the system, one short declaration each."""
