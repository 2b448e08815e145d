"""Control groups: one `Cgroup` per container over v1, v2 and hybrid layouts.

`layout.py` finds what the host has mounted; `cgroup.py` is the life of one container's group (made,
entered, limited, frozen, counted, killed, removed); `v1.py` and `v2.py` spell limits and counters in
each version's files; `devices.py` turns OCI device rules into v1 lines or a v2 BPF program.

Invariant: a controller has one home, a v1 hierarchy or the unified one, and every limit is written
where its controller lives; a limit without a home becomes a warning, never silence. Synchronous, used
by shim and runtime right after a fork: imports only `os`, `errno`, `linux`, `spec`, `errors`.
"""
