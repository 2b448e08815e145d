"""Images moved between archives and the store, in one call."""
