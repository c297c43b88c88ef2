"""A little world with known answers: seeded scenes of textured shapes, and a small network that has learned them."""
