"""Commands that judge, explain and protect images."""
