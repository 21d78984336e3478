"""Commands that judge, explain and protect pictures."""
