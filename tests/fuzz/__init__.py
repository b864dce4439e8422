"""Mutated inputs by the hundred: `python -m tests.fuzz`; a sample of them in test_fuzz.py."""
