"""The manager's one database, and the collector of what nobody refers to."""
