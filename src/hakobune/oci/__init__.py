"""The OCI runtime: config in, a process in namespaces out. Synchronous, few imports: it runs in a fork of the zygote."""
