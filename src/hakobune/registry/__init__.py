"""Registries: the OCI distribution protocol, spoken as a client.

`repository` is the door: a Protocol of what others need, and data. `hosts` says where a name is to be asked for, `session`
asks there, with `http` below it and `authorization` beside it; `remote` reads and `upload` writes. Nothing here knows
of stores or snapshots. Imports: errors, spec; asyncio, h11, ssl.
"""
