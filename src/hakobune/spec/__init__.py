"""Frozen data of the field's specifications: mounts, images, digests, references. Imports nothing of the project but errors."""
