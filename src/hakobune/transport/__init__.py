"""Ways to call and be called: gRPC's settings, and ttrpc over asyncio. Knows messages only as bytes."""
