"""Blobs named by their digest, and the writes that make them."""
