"""Features of any layer: extraction, the cache on disk, nearest neighbours."""
