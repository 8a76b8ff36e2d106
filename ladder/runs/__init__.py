"""The runs of a ladder: what they would cost, where their files lie, and where they stand."""
