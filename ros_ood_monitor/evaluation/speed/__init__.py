"""Measures engines: stages, start-up, memory, parity with the goldens."""
