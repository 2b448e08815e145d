"""Fakes, suites and the private engine that tests, demo and bench start. Only tests and tools import this room."""
