"""The engine's HTTP edge: requests off a socket, a table of routes, answers back onto it.

A protocol of our own over h11, because a hijacked connection has to leave this process with every byte
that came after its request (`connection.py`). Imports: `engine/schema`, `errors`, the standard library, h11.
"""
