"""Layers as files: reading tar streams, unpacking them safely, and building the starter image's layer.

`decompress.py` any of the usual compressions as one stream of bounded chunks; `tar.py` the archive as
entries; `apply.py` entries onto a directory, never outside it; `elf.py` what a program needs to run;
`starter.py` a small root file system made of this host's own programs.

Invariant: nothing that an archive says makes memory grow with it, is looked up on the host (no user
names, no paths outside the target), or is followed out of the target.
"""
