"""What a published model is: its manifest, its files and the errors that concern them."""
