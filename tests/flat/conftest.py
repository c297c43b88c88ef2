"""Two threads, as the machines that run the tests have two cores."""

import torch

torch.set_num_threads(2)
