"""Looking after a registry: checked and mended, swept, told what is old or missing."""
