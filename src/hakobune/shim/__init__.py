"""The process hako-shim, one per container: owns its streams, reaps, reports, outlives both daemons. Others enter by `client`."""
