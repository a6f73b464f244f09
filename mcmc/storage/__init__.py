"""The ensemble file: reading, writing, checking and joining it."""
