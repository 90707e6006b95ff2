"""What a run has to say: tables, figures, pictures, and one HTML page that holds them all."""
