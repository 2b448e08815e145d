"""A container's file system from outside: looked at, packed, written to, whether it runs or not.

Each time in a process of its own with a mount namespace of its own (`view`), so that nothing is mounted on the host
and nothing is left when it is killed. Paths are the container's: they are walked on descriptors with openat2 and
RESOLVE_IN_ROOT (`paths`), and no link leads out. The program is cmd/files.py; the engine starts it. Imports: oci's
mounts and safe paths, layers, linux, spec, errors.
"""
