"""How a run is executed: training to files, checkpoints, devices, signals, many runs."""
