"""What every implementation of a port must do, as suites of tests to inherit.

A driver's own tests subclass `drivers.DriverContract` and say how to get one.

Imports: `domain` and pytest, never an adapter.
"""
