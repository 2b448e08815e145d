"""Running containers: bundles, shims, and what happens when a shim is lost."""
