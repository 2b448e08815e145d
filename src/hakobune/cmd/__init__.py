"""Executables: argv to configuration to object graph to run. May import anything; nobody imports this room."""
