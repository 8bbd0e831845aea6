"""From tables to metrics and comparisons; reads files, never imports torch."""
