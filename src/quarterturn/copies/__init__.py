"""Images that show the same picture: finding them, and moving what is not kept."""
