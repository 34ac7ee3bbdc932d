"""Compare the speed and memory of networks: see ``cli.py``."""
