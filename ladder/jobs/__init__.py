"""Jobs on this machine and on SLURM: what to check, start, follow and end."""
