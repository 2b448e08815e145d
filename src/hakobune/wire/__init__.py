"""Codecs without input or output: bytes in, frames out. Imports nothing but errors."""
