"""Finding objects: detect."""
