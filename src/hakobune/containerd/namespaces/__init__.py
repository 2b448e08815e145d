"""The manager's tenants."""
