"""Networks of the engine in Docker's words; the work is net's."""
