"""The measured claims of the README: `python -m benchmarks` runs our engine and its peers side by side."""
