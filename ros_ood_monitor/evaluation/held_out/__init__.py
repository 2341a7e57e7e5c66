"""Recordings of normal operation and their scores, for what `calibrate` states."""
