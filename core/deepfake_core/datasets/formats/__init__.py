"""Tables, archives and columns that hold pictures."""
