"""Hakobune: a container engine in Python. docs/architecture.md is the map; each room's own `__init__` says what lives in it."""
