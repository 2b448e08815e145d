"""Records of containers: what tasks are made from."""
