"""Pure arithmetic of a ladder: shapes, the recipe, rungs and their names, memory, benchmarks' facts."""
