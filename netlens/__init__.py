"""netlens explains vision networks: flat named layers, recorded activations, attribution and pictures."""

__version__ = "0.1.0"
