"""hako-runtime as a program, with a place that is empty at the end; and a private engine for what the shim does in-process."""

from tests.integration.runtime.conftest import hako, lower

__all__ = ["hako", "lower"]
