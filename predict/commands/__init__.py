"""The subcommands of `python -m predict`: one module each, with a `main(argv)`."""
