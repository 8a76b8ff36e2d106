"""The verbs of `python -m predict`: one module each, with its rows, its table, its figure and a `main(argv)`."""
