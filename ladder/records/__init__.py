"""What the stages hand each other on disk, as types: run.json, rung.json, metrics files, shards of tokens."""
