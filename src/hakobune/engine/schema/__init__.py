"""Shapes of the Docker Engine API that several rooms share: data and pure functions only."""
