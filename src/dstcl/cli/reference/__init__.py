"""Read the paper's own numbers, and draw what they show."""
