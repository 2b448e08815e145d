"""The exchange: every event of every room and shim, to everybody who listens."""
