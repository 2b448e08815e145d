"""The verbs of an OCI runtime, one file each: `hako-runtime VERB`. Synchronous; imports as little as it can."""
