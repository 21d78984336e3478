"""How each kind of input is read: files with several pictures, large files, objects in memory, paths."""
