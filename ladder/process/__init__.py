"""Processes: how a stage is started, what it runs on, and what several of them agree on."""
