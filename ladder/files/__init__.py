"""Files, whatever is in them: read with checks, written whole or not at all, locked, hashed."""
