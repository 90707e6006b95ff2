"""The demonstration: the method and its two parts on one small collection."""
