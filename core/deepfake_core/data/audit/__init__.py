"""How well the classes of a dataset are told apart by what has nothing to do with forgery."""
