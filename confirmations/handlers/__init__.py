"""The kinds of confirmations."""
