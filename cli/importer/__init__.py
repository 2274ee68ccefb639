"""Bringing a collection that was elsewhere: read once, sent row by row, and counted at the end."""
