"""Detectors on a training's taps: fitted, kept for the next run, and chosen on evidence."""
