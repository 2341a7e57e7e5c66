"""Where in the picture: calibrated heat-maps of cells, and coloured for people."""
