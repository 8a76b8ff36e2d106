"""Tokens: a model's tokenizer, and the tries that documents become."""
