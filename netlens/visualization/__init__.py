"""Feature visualisation: pictures that a network is most excited by, made by one renderer."""
