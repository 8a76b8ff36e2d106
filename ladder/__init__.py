"""The shared nouns of Model Ladder (shape, recipe, rung, run directory, measurement table) and its plan and launcher."""
