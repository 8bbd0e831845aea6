"""What is studied: settings, presets, runs, plans and what they cost."""
