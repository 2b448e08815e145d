"""File system snapshots: kept here, mounted by runtimes."""
