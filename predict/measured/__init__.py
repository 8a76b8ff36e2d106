"""Files of any kind become a ladder's measurements: its runs, its rungs, its tasks."""
