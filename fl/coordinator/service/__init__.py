"""A coordinator of real machines, step by step; `fl.coordinator.serve` is the script."""
