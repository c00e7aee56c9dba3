"""torch.compile on the processor: generated C++, compiled by the runtime's own compiler."""

import torch

compiled = torch.compile(lambda x: torch.sin(x) ** 2 + torch.cos(x) ** 2)
assert torch.allclose(compiled(torch.arange(8.0)), torch.ones(8))
