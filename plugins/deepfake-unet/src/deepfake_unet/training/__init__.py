"""Training of the protector: its losses, and the generators against which it is trained."""
