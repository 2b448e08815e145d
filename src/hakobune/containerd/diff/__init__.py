"""Layers onto snapshots."""
