"""The backbone study: which taps serve, and what tells so beforehand."""
