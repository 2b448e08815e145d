"""Streams that a client opens before the call that uses them."""
