"""The configuration as types, from `configs/` and the words of a command line."""
