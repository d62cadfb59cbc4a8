"""What may be done: plan a redrive, start, pause and abort it; and what its own job does with it, step by step."""
