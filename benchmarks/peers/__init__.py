"""What the engine is compared with: one file per peer, run by the Python of `.venv-bench`."""
