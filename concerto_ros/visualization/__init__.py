"""Maps as PLY files and as pictures, and the depth image a map predicts for a camera."""
