"""From the measurements of a ladder of small models to laws, predictions with intervals, analyses and a report."""

import os

# The matrices here are tiny: threads only wait for each other (80 times slower on a busy machine).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
