"""The life of one container's processes as the shim keeps it: state machine, execs, streams, workers. No asyncio."""
