"""Images of the engine: records, manifests and configurations kept by the manager below, in Docker's words here."""
