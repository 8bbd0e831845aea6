"""Show, check and cost the study that params.yaml describes."""
