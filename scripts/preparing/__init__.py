"""What `scripts/prepare_data.py` does, a job a file."""
