"""What scores the cells of a map: fitted, and chosen on defects of known place."""
