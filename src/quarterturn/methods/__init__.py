"""What is learned: one file a method, from a batch to named loss terms."""
