"""Log-likelihoods: the plan of what to score, and the ways to score it."""
