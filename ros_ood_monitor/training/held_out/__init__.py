"""What held-out frames decide: calibration, goldens, rates, precisions; and leaks among them."""
