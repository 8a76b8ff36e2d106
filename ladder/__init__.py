"""The shared nouns of Model Ladder (shape, recipe, rung, run directory, measurements), its plan and its launcher."""
