"""One rung in, checkpoints out: the training loop, its data order, loss, checkpoints and log."""
