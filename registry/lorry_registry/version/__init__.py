"""What a version is: its manifest, the facts and the card in it, and the notes beside it."""
