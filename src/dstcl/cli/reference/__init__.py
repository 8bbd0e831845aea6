"""Extract and analyse the paper's own numbers."""
