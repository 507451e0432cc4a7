"""Many runs of the other commands as one: what is done stays done."""
