"""What is in a collection of images: embed and neighbors."""
