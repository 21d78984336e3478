"""A small U-Net that protects images of faces against manipulation, and localises blended regions."""
