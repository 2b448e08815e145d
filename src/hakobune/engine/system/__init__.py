"""The engine about itself: ping, version, info, disk usage, and what it does not serve, said clearly."""
