"""The HTTP face of the engine: jobs, and the kinds that they are of."""
