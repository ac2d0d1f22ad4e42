"""Solutions of lesson 12, under the names of its exercise cells."""

from minicnn import models, summary
from minicnn.inspect import published

counts = {result.network: (models.info(result.network), result) for result in published.compared("top1")}

# 1. Inception-ResNet-v1: BN-Inception has half of it, and 25.2 %.
fewest = min(info.parameters for info, result in counts.values() if result.top1 < 25)

# 2. 8.9, not 12: the deck divides 60 million by 5 million, and GoogLeNet has 7.
factor = models.info("alexnet").parameters / models.info("googlenet").parameters

# 3. What 3 x 4 bytes for each parameter leave, in whole images.
whole = summary("resnet152")
images = (16 * 2**30 - 3 * whole.parameter_bytes) // whole.activation_bytes

# 4. 7*7*512 numbers go into 4096.
part = (7 * 7 * 512 + 1) * 4096 / models.info("vgg_d").parameters

# 5. In order of the multiply-adds, each network with a lower error than all before it.
fair = [pair for pair in counts.values() if pair[1].protocol in ("1 crop", "1 scale")]
front, best = 0, 100.0
for _, result in sorted(fair, key=lambda pair: (pair[0].macs, pair[1].top1)):
    if result.top1 < best:
        front, best = front + 1, result.top1
