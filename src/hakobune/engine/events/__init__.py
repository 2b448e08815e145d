"""What happens, told as it happens: the bus that every room publishes on, and GET /events."""
