"""Models: on disk, of the hub, by other programs, in training."""
