"""A small U-Net that protects pictures of faces against manipulation, and shows where faces were blended."""
