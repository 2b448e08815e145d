"""Names for content."""
