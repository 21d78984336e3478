"""What tells the classes of the training samples apart besides forgery, before a run trains on them."""
