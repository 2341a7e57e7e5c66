"""Judges bundles on recorded bags: labels, scores, alerts, figures, gates."""
