"""The stages of scripts/gpu_evidence.py: each has `rows(tiny, words)`, which yields what it measured."""
