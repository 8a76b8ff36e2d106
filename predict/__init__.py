"""From the measurements of a ladder of small models to laws, predictions with intervals, analyses and a report.

The command line is `python -m predict --help`. In Python, with the laws that come with the package:

>>> from ladder.config.config_files import load_target
>>> from predict.methods import law_file
>>> [p] = law_file.load(law_file.SHIPPED).predict(load_target("13B-5T"), "paper", ["mmlu"])
>>> print(f"{100 * p.accuracy.value:.2f} predicted, {100 * p.actual:.2f} measured")
51.27 predicted, 51.61 measured

and with measurements, where `folder` is a directory of runs, a CSV or Parquet file, or AI2's folder:

>>> from predict.measured.load import load_ladder
>>> from predict.methods.fits import predict_target
>>> ladder = load_ladder(folder, sizes=["190M", "370M", "760M"])
>>> [p] = predict_target(ladder, load_target("7B-4T"), tasks=["hellaswag"])
>>> p.actual in p.accuracy.interval80
True
>>> sorted(name for name, accuracy in p.members)
['LM loss', 'curves', 'direct', 'task loss']
"""

import os

# The matrices here are tiny: threads only wait for each other (80 times slower on a busy machine).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
