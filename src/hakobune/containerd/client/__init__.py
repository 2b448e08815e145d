"""Door to a containerd, ours or the real one: a typed async client, one module per service."""
