"""What is in a folder, on one page."""
