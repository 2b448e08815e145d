"""Volumes: directories of the engine with a life of their own, apart from any container."""
