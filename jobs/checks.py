"""System checks of the engine."""
