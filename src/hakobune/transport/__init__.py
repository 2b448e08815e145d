"""Image transfer formats on disk and between engines."""
