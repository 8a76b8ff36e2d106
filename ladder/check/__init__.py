"""What is checked of a ladder before its law is trusted: its runs' own files, and what `predict check` finds."""
