"""Other ways to make a detector small, at the same bytes and with the same block reconstruction as ours.

| method | what it is |
|---|---|
| `structured_pruning` | channels, hidden units and attention heads removed by a Taylor score |
| `truncated_svd` | each weight matrix as two thin ones, least squares on the layer's calibration inputs |
| `sign_rank_one` | each weight as signs times the outer product of two positive vectors, in several terms |

What is left is stored as float16, like what our own files do not quantize, and computes in float. These are
not the rows "ADD", "GAC-FAS", "X-Pruner", "OneBit" and "HOLa" of the paper's table. None of them can be rerun
as a compression of a given detector from calibration images:

* ADD (Le and Woo, AAAI 2022) distils a detector for low-quality video by attention to frequencies; the model
  does not get smaller.
* GAC-FAS (Le and Woo, CVPR 2024) is a training objective for face anti-spoofing that seeks flat minima; the
  model does not get smaller.
* X-Pruner (Yu and Xiang, CVPR 2023) learns masks for each class from labels in long training, then fine-tunes
  a ViT; `structured_pruning` is what is left of it without labels and training.
* OneBit (Xu et al., NeurIPS 2024) is a form of a weight, with 1 bit an element, and long distillation of a
  language model; `sign_rank_one` has the form, and spends the bytes beyond 1 bit on further terms.
* HOLa (Lei et al., ICCV 2025) decomposes text features of CLIP to find interactions of people and objects; no
  weight gets smaller. `truncated_svd` stands for low rank.
"""
