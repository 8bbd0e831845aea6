"""Look at the study that params.yaml describes."""
