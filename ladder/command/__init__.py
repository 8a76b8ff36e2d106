"""The edge that every command has: its parser, completion in the shell, and exit codes."""
