"""What is in a collection of images: explore, embed and neighbors."""
