"""Run in the packed runtime, without a GPU: torch multiplies, learns, and runs a network of torchvision."""

import torch
import torchvision

a, b = torch.randn(64, 32), torch.randn(32, 16)
assert torch.allclose(a @ b, torch.einsum("ik,kj->ij", a, b), atol=1e-4)

torch.manual_seed(0)
x = torch.linspace(-1, 1, 100).unsqueeze(1)
y = 3 * x + 1
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
for _ in range(200):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
assert abs(model.weight.item() - 3) < 1e-2 and abs(model.bias.item() - 1) < 1e-2

with torch.no_grad():
    assert torchvision.models.resnet18(weights=None).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
assert torch.version.cuda == "12.1" and torch.backends.cudnn.version() >= 8900
print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
