"""The live page and the JSON behind it."""
