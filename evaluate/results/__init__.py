"""Log-likelihoods to numbers, and the files they are written to."""
