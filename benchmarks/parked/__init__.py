"""What ``benchmarks/parking.py`` and a small version of it in the tests run: actions, their witness, and kills."""
