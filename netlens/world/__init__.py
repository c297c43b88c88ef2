"""A little world with known answers: seeded scenes of textured shapes, and two small networks trained on them."""
