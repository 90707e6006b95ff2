"""Tables, figures, pictures and the HTML page; runs no network."""
