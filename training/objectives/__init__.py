"""What is minimised: modules that take a batch and return named losses."""
