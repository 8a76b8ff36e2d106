"""Arrays in, coefficients out: the forms of the laws, and their single and batched fits."""
