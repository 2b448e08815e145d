"""Volumes: directories with names, which outlive every container that uses them. Only the `local` driver."""
