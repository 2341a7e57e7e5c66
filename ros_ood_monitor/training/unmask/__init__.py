"""Unleashing Mask itself: masks over weights, and the training that forgets with them."""
