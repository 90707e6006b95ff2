"""One file a command; each is a plain function that the command line calls."""
