"""Further processes of a running container (`docker exec`): they belong to its life, and are recorded beside it."""
