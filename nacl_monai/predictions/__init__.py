"""Saved predictions of any tool → the numbers, files and figures of an evaluation."""
